"""Sets of an agent's pages, by process. Pure.

They are address ranges, bound to the processes in which they were seen: a restarted gateway has
other processes, to which old ranges are never applied.
"""

from collections.abc import Collection, Iterable, Mapping

from ocmt_agent.memory.ranges import PackedRanges, Range, merged, size_of, without
from ocmt_agent.runtime.processes import ProcessId

Pages = Mapping[ProcessId, Collection[Range]]


def size(pages: Pages) -> int:
    """The size of the pages in bytes."""
    return sum(size_of(ranges) for ranges in pages.values())


def packed(pages: Pages) -> Pages:
    """A compact form of the pages, since an agent has about ten thousand ranges."""
    return {process: PackedRanges(ranges) for process, ranges in pages.items()}


def minus(pages: Pages, taken: Pages) -> Pages:
    return {process: without(ranges, taken.get(process, [])) for process, ranges in pages.items()}


def among(pages: Pages, others: Pages) -> Pages:
    """The pages that are in both."""
    return minus(pages, minus(pages, others))


def together(parts: Iterable[Pages]) -> Pages:
    found: dict[ProcessId, list[Range]] = {}
    for pages in parts:
        for process, ranges in pages.items():
            found.setdefault(process, []).extend(ranges)
    return {process: merged(ranges) for process, ranges in found.items()}
