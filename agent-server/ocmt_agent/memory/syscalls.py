"""System calls on another process's memory that Python does not wrap (Linux, 64-bit).

All take address ranges and change no content. Sources: `process_madvise(2)` (kernel 5.10; needs
CAP_SYS_NICE and permission to trace), `process_vm_writev(2)` (needs permission to trace),
`pagemap.rst` for PAGEMAP_SCAN (kernel 6.7).
"""

import ctypes
import errno
import fcntl
import os
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum, IntEnum
from pathlib import Path

from ocmt_agent.memory.ranges import PAGE, Range, merged

_SYS_PROCESS_MADVISE = 440  # the same number on every architecture
_IOV_MAX = 1024
_libc = ctypes.CDLL(None, use_errno=True)


class Advice(IntEnum):
    WILLNEED = 3
    PAGEOUT = 21


class _IoVec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


def process_madvise(pidfd: int, ranges: Sequence[Range], advice: Advice) -> int:
    """Advise the kernel on up to 1,024 ranges. Returns the number of bytes advised.

    That is less than requested if a range is unmapped or cannot be advised on. Raises `OSError` if
    no range could be advised. Releases the GIL during the call.
    """
    vectors = (_IoVec * len(ranges))(*(_IoVec(one.start, one.size) for one in ranges))
    taken: int = _libc.syscall(
        _SYS_PROCESS_MADVISE,
        ctypes.c_int(pidfd),
        vectors,
        ctypes.c_size_t(len(ranges)),
        ctypes.c_int(advice),
        ctypes.c_uint(0),
    )
    if taken < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return taken


def batches(ranges: Iterable[Range], *, most: int) -> Iterator[list[Range]]:
    """Yield the ranges in batches of at most `most` bytes, between which work can be cancelled."""
    batch: list[Range] = []
    size = 0
    for whole in ranges:
        for one in whole.pieces(most):
            if batch and (size + one.size > most or len(batch) == _IOV_MAX):
                yield batch
                batch, size = [], 0
            batch.append(one)
            size += one.size
    if batch:
        yield batch


_PINNED_AT_ONCE = 1024 * PAGE
"""Bytes that one call pins before it copies (`process_vm_access.c` in the kernel)."""
_MAP_PRIVATE_ANONYMOUS = 0x22
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *(ctypes.c_int,) * 3, ctypes.c_long)
_unreadable = _libc.mmap(None, PAGE, 0, _MAP_PRIVATE_ANONYMOUS, -1, 0)


def fault_in(pid: int, ranges: Iterable[Range]) -> None:
    """Fault pages in as a write to each would, without writing.

    The pages are then mapped and their swap slots are free; the next reclaim gives them adjacent
    slots. The call copies into them from an unreadable page of this process: the kernel first pins
    the target pages for writing, which faults them in, and then fails on the source before the
    first byte (so EFAULT means success). It is therefore safe on memory that is being written.
    Pages that are gone or not writable are skipped. Do not pass addresses at which no page was ever
    used, since the call would create one.
    """
    source = _IoVec(_unreadable, PAGE)
    for whole in ranges:
        for one in whole.pieces(_PINNED_AT_ONCE):
            _libc.process_vm_writev(
                ctypes.c_int(pid),
                ctypes.byref(source),
                ctypes.c_ulong(1),
                ctypes.byref(_IoVec(one.start, one.size)),
                ctypes.c_ulong(1),
                ctypes.c_ulong(0),
            )


class _ScanArgument(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_uint64)
        for name in ("size", "flags", "start", "end", "walk_end", "vec", "vec_len", "max_pages",
                     "category_inverted", "category_mask", "category_anyof_mask", "return_mask")
    )  # fmt: skip


class _PageRegion(ctypes.Structure):
    _fields_ = (
        ("start", ctypes.c_uint64),
        ("end", ctypes.c_uint64),
        ("categories", ctypes.c_uint64),
    )


_PAGEMAP_SCAN = 0xC0606610  # _IOWR('f', 16, struct pm_scan_arg)
_PAGE_IS_FILE = 1 << 2
_REGIONS = 4096
_OLDER_KERNEL = (errno.ENOTTY, errno.EINVAL)
_ENTRY_FILE = 1 << 61


class Kept(Enum):
    """Where an anonymous page is: the bits of PAGEMAP_SCAN and of an entry in `pagemap`."""

    MAPPED = (1 << 3, 1 << 63)
    """In RAM, and used or faulted in since it was read from swap."""
    SOMEWHERE = (1 << 3 | 1 << 4, 1 << 63 | 1 << 62)
    """Mapped or in swap: a page that was ever used."""


def own_pages(pid: int, areas: Iterable[Range], kept: Kept) -> list[Range]:
    """The process's anonymous pages in `areas` that match `kept`.

    A page that was only read from swap, and not used since, is not mapped. Raises `OSError` if the
    process is gone.
    """
    found: list[Range] = []
    with Path(f"/proc/{pid}/pagemap").open("rb", buffering=0) as pagemap:
        read = _scan
        for area in areas:
            try:
                found += read(pagemap.fileno(), area, kept)
            except OSError as error:
                if error.errno not in _OLDER_KERNEL or read is _read:
                    raise
                read = _read
                found += read(pagemap.fileno(), area, kept)
    return merged(found)


def _scan(pagemap: int, area: Range, kept: Kept) -> list[Range]:
    categories, _ = kept.value
    found: list[Range] = []
    regions = (_PageRegion * _REGIONS)()
    start = area.start
    while start < area.end:
        argument = _ScanArgument(
            size=ctypes.sizeof(_ScanArgument),
            start=start,
            end=area.end,
            vec=ctypes.addressof(regions),
            vec_len=_REGIONS,
            category_inverted=_PAGE_IS_FILE,
            category_mask=_PAGE_IS_FILE,
            category_anyof_mask=categories,
            return_mask=categories,
        )
        count = fcntl.ioctl(pagemap, _PAGEMAP_SCAN, argument)
        found += (Range(region.start, region.end) for region in regions[:count])
        start = int(argument.walk_end)
    return found


def _read(pagemap: int, area: Range, kept: Kept) -> list[Range]:
    _, bits = kept.value
    found: list[Range] = []
    for piece in area.pieces(64 << 20):
        text = os.pread(pagemap, piece.size // PAGE * 8, piece.start // PAGE * 8)
        for number, entry in enumerate(memoryview(text).cast("Q")):
            if entry & bits and not entry & _ENTRY_FILE:
                start = piece.start + number * PAGE
                found.append(Range(start, start + PAGE))
    return found
