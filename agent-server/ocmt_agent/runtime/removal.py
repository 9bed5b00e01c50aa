"""Removes a user's folder permanently."""

import subprocess
from pathlib import Path

from ocmt_agent.runtime.base import RuntimeFailed


def remove_folder(folder: Path) -> None:
    """Remove a folder of an agent, without following links. Raises `RuntimeFailed`.

    Uses `rm`, since an agent can nest folders deeper than Python can remove.
    """
    done = subprocess.run(
        ["rm", "-rf", "--", str(folder)],  # noqa: S607 (its folder depends on the system)
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        reason = (done.stderr.splitlines() or ["rm failed"])[0].removeprefix("rm: ")
        raise RuntimeFailed(
            f"The agent's folder {folder} cannot be removed: {reason}. Remove it by hand."
        )
