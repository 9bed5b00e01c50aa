"""One sync at a time in a repository.

The kernel releases the lock when its holders end. Git processes that an apply starts inherit it, so
it is held until the git processes of a killed `ocmt` have ended, too.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ocmt_sync.errors import Exit, SyncError

# Enough time for the git process of a killed run to end.
_PATIENCE_S = 3.0


@contextmanager
def exclusive(state: Path, *, patience_s: float = _PATIENCE_S) -> Iterator[int]:
    """Hold the repository's sync lock, and yield its file descriptor.

    Raises `SyncError` if it is not free within `patience_s` seconds.
    """
    state.mkdir(parents=True, exist_ok=True)
    handle = os.open(state / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + patience_s
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    holder = os.pread(handle, 40, 0).decode("ascii", "replace").strip()
                    raise SyncError(
                        Exit.BUSY, f"Another `ocmt sync` is running here (process {holder})."
                    ) from None
                time.sleep(0.05)
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield handle
    finally:
        os.close(handle)
