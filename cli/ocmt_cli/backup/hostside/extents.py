"""Reads and writes only the allocated extents of sparse files."""

import errno
import io
import os
from collections.abc import Sequence
from typing import Any

from ocmt_cli.backup.hostside.budget import Budget

Extent = tuple[int, int]
"""Offset and length, in bytes."""


def extents_of(file: int, size: int, budget: Budget) -> list[Extent]:
    """The extents of a file of `size` bytes that have data. Each hole counts as a budget entry."""
    found: list[Extent] = []
    end = 0
    while end < size:
        try:
            start = os.lseek(file, end, os.SEEK_DATA)
            end = min(os.lseek(file, start, os.SEEK_HOLE), size)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            break  # only a hole from here on
        if end <= start:
            break  # data beyond the size given
        if found:
            budget.take_entry()
        found.append((start, end - start))
    return found


def total(extents: Sequence[Extent]) -> int:
    return sum(length for _, length in extents)


class ExtentReader(io.RawIOBase):
    """Reads the extents of a file in order, always to their full length.

    Bytes that were truncated meanwhile or that the disk cannot read become zeros; `failed` is the
    disk's error.
    """

    def __init__(self, file: int, extents: Sequence[Extent], *, before: bytes = b"") -> None:
        self._file = file
        self._before = before
        self._todo = list(extents)[::-1]
        self.failed = ""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._before:
            count = min(len(buffer), len(self._before))
            buffer[:count] = self._before[:count]
            self._before = self._before[count:]
            return count
        if not self._todo:
            return 0
        offset, left = self._todo.pop()
        count = min(len(buffer), left)
        try:
            data = os.pread(self._file, count, offset)
        except OSError as error:
            self.failed = error.strerror or "it cannot be read"
            data = b""
        data = data or bytes(count)
        buffer[: len(data)] = data
        if len(data) < left:
            self._todo.append((offset + len(data), left - len(data)))
        return len(data)


def copied(file: int, extents: Sequence[Extent], size: int, target: int) -> None:
    """Copy the extents of a file to another, keeping holes."""
    os.ftruncate(target, size)
    for start, length in extents:
        offset, end = start, start + length
        while offset < end:
            data = os.pread(file, min(1 << 20, end - offset), offset)
            if not data:
                return  # truncated meanwhile
            offset += os.pwrite(target, data, offset)
