"""Ranges of a process's addresses: pure arithmetic, whole pages, nothing of their content."""

import mmap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

PAGE = mmap.PAGESIZE


@dataclass(frozen=True, slots=True, order=True)
class Range:
    """From `start` up to and without `end`, both multiples of the page size."""

    start: int
    end: int

    @property
    def size(self) -> int:
        return self.end - self.start

    def pieces(self, most: int) -> Iterator["Range"]:
        """Itself in consecutive pieces of at most `most` bytes (a multiple of the page size)."""
        for start in range(self.start, self.end, most):
            yield Range(start, min(start + most, self.end))


def size_of(ranges: Iterable[Range]) -> int:
    return sum(one.size for one in ranges)


def merged(ranges: Iterable[Range], *, gap: int = 0) -> list[Range]:
    """Sorted, overlaps joined, and with them what lies at most `gap` bytes apart."""
    joined: list[Range] = []
    for one in sorted(ranges):
        if joined and one.start <= joined[-1].end + gap:
            joined[-1] = Range(joined[-1].start, max(joined[-1].end, one.end))
        else:
            joined.append(one)
    return joined


def without(ranges: Iterable[Range], kept: Iterable[Range]) -> list[Range]:
    """What of `ranges` is not in `kept`."""
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
    """The accessible areas of `/proc/<pid>/maps`: not what is only reserved, or the kernel's."""
    areas = []
    for line in maps.splitlines():
        addresses, rights, *_ = line.split(maxsplit=2)
        start, _, end = addresses.partition("-")
        if rights.startswith("---") or line.endswith(("[vsyscall]", "[vvar]", "[vdso]")):
            continue
        areas.append(Range(int(start, 16), int(end, 16)))
    return areas
