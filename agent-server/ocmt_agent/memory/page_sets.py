"""Sets of an agent's pages, process by process. Pure.

Only ranges of addresses, bound to the very processes they were seen in: those of a gateway that was
started anew are others, and nothing of the old is applied to them.
"""

from collections.abc import Collection, Iterable, Mapping

from ocmt_agent.memory.ranges import PackedRanges, Range, merged, size_of, without
from ocmt_agent.runtime.processes import ProcessId

Pages = Mapping[ProcessId, Collection[Range]]


def size(pages: Pages) -> int:
    """In bytes."""
    return sum(size_of(ranges) for ranges in pages.values())


def packed(pages: Pages) -> Pages:
    """The same, as small as it can be kept: some ten thousand ranges for each agent there is."""
    return {process: PackedRanges(ranges) for process, ranges in pages.items()}


def minus(pages: Pages, taken: Pages) -> Pages:
    return {process: without(ranges, taken.get(process, [])) for process, ranges in pages.items()}


def among(pages: Pages, others: Pages) -> Pages:
    """Those of the pages that are in both."""
    return minus(pages, minus(pages, others))


def together(parts: Iterable[Pages]) -> Pages:
    found: dict[ProcessId, list[Range]] = {}
    for pages in parts:
        for process, ranges in pages.items():
            found.setdefault(process, []).extend(ranges)
    return {process: merged(ranges) for process, ranges in found.items()}
