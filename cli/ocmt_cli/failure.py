"""The one way a command gives up: a text that says what to do, and an exit code."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class CommandFailed(Exception):
    """`str()` is shown to the operator as it is; `main` ends the process with `exit_code`."""

    def __init__(self, text: str, *, exit_code: int = 1) -> None:
        super().__init__(text)
        self.exit_code = exit_code


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turn what the file system refuses under `folder` into what the operator can do about it."""
    try:
        yield
    except OSError as error:
        where = error.filename or folder
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise CommandFailed(
                f"The disk is full: {where} cannot be written. Free some space, or keep the data "
                "on another disk with --data."
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
            raise CommandFailed(
                f"{where} cannot be written ({error.strerror}). Make it writable for this user, or "
                "choose another folder with --data."
            ) from error
        raise
