"""A lock between processes that never goes stale: the kernel releases it when its holders end.

The lock is on an open file (flock(2)), so a child that inherits the descriptor holds it, too.
Standard library only: the command sends this to hosts (`ocmt_cli.deploy.program`).
"""

import fcntl
import os
from pathlib import Path


class FileLock:
    """A held lock. Use it as a context manager: garbage collection does not release it."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def release(self) -> None:
        os.close(self.fd)

    def __enter__(self) -> "FileLock":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def lock(path: Path) -> FileLock:
    """Wait for the lock on `path`: a folder, or a file, which is created if missing.

    Raises `OSError` if it cannot be opened.
    """
    descriptor = _open(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except BaseException:
        os.close(descriptor)
        raise
    return FileLock(descriptor)


def try_lock(path: Path) -> FileLock | None:
    """Like `lock`, but returns `None` at once if the lock is held, even by this process."""
    descriptor = _open(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return FileLock(descriptor)


def _open(path: Path) -> int:
    if path.is_dir():
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
