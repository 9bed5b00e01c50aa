"""Set operations on address ranges of a process, in whole pages. Pure."""

import mmap
from array import array
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

PAGE = mmap.PAGESIZE


class Range(NamedTuple):
    """From `start` up to but excluding `end`, both multiples of the page size."""

    start: int
    end: int

    @property
    def size(self) -> int:
        return self.end - self.start

    def pieces(self, most: int) -> Iterator["Range"]:
        """The range in consecutive pieces of at most `most` bytes (a multiple of the page size)."""
        for start in range(self.start, self.end, most):
            yield Range(start, min(start + most, self.end))


class PackedRanges(Collection[Range]):
    """A compact sequence of ranges: 16 bytes each, instead of 130 in a list."""

    __slots__ = ("_edges",)

    def __init__(self, ranges: Iterable[Range]) -> None:
        self._edges = array("Q", (edge for one in ranges for edge in one))

    @classmethod
    def of(cls, data: bytes) -> "PackedRanges":
        """The inverse of `bytes()`. Raises `ValueError` for other input."""
        if len(data) % 16:
            raise ValueError("not a whole number of ranges")
        packed = cls(())
        packed._edges.frombytes(data)
        return packed

    def __bytes__(self) -> bytes:
        return self._edges.tobytes()

    def __iter__(self) -> Iterator[Range]:
        edges = iter(self._edges)
        return map(Range, edges, edges)

    def __len__(self) -> int:
        return len(self._edges) // 2

    def __contains__(self, one: object) -> bool:
        return any(one == each for each in self)


def size_of(ranges: Iterable[Range]) -> int:
    return sum(end - start for start, end in ranges)


def merged(ranges: Iterable[Range], *, gap: int = 0) -> list[Range]:
    """Sort ranges, and join those that overlap or are at most `gap` bytes apart."""
    joined: list[Range] = []
    for one in sorted(ranges):
        if joined and one.start <= joined[-1].end + gap:
            joined[-1] = Range(joined[-1].start, max(joined[-1].end, one.end))
        else:
            joined.append(one)
    return joined


def without(ranges: Iterable[Range], kept: Iterable[Range]) -> list[Range]:
    """The parts of `ranges` that are not in `kept`."""
    rest: list[Range] = []
    holes = merged(kept)
    at = 0
    for one in merged(ranges):
        start = one.start
        while at < len(holes) and holes[at].end <= start:
            at += 1
        hole = at
        while hole < len(holes) and holes[hole].start < one.end:
            if holes[hole].start > start:
                rest.append(Range(start, holes[hole].start))
            start = max(start, holes[hole].end)
            hole += 1
        if start < one.end:
            rest.append(Range(start, one.end))
    return rest


def mapped(maps: str) -> list[Range]:
    """The accessible areas in a text of `/proc/<pid>/maps`, without the kernel's own."""
    areas = []
    for line in maps.splitlines():
        addresses, rights, *_ = line.split(maxsplit=2)
        start, _, end = addresses.partition("-")
        if rights.startswith("---") or line.endswith(("[vsyscall]", "[vvar]", "[vdso]")):
            continue
        areas.append(Range(int(start, 16), int(end, 16)))
    return areas
