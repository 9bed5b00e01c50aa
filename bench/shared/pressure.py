"""Causes real memory pressure by allocating and locking memory."""

import asyncio
import contextlib
import ctypes
import mmap
from collections.abc import AsyncIterator

from shared.agents import meminfo

_libc = ctypes.CDLL(None, use_errno=True)


@contextlib.asynccontextmanager
async def only_available(share: float) -> AsyncIterator[None]:
    """Leave only `share` of the host's memory available during the block. Needs root."""
    now = meminfo()
    size = int(now["MemAvailable"] - share * now["MemTotal"]) // mmap.PAGESIZE * mmap.PAGESIZE
    if size <= 0:
        yield
        return
    with mmap.mmap(-1, size) as memory:
        await asyncio.to_thread(_lock, memory, size)
        yield


def _lock(memory: mmap.mmap, size: int) -> None:
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    if _libc.mlock(ctypes.c_void_p(start), ctypes.c_size_t(size)) != 0:
        raise OSError(ctypes.get_errno(), f"{size / 1e9:.1f} GB cannot be locked: run it as root")
