"""Removing a user's folder for good: all of it, or an error that says what is left."""

import shutil
from pathlib import Path

from ocmt_agent.runtime.base import RuntimeFailed


def remove_folder(folder: Path) -> None:
    """Remove a folder that an agent wrote in; links it planted are removed, never followed."""
    try:
        shutil.rmtree(folder)
    except OSError as error:
        if not folder.exists():
            return
        raise RuntimeFailed(
            f"The agent's folder {folder} cannot be removed: {error}. Remove it by hand."
        ) from error
