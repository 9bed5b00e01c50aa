"""Removing a user's folder for good: all of it, or an error that says what is left."""

import subprocess
from pathlib import Path

from ocmt_agent.runtime.base import RuntimeFailed


def remove_folder(folder: Path) -> None:
    """Remove a folder that an agent wrote in; links it planted are removed, never followed.

    By `rm`, since an agent can nest its folders deeper than Python's own removal goes.
    """
    done = subprocess.run(
        ["rm", "-rf", "--", str(folder)],  # noqa: S607 (wherever the system has it)
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
