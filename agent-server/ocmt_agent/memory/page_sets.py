"""Sets of an agent's pages, process by process. Pure.

Only ranges of addresses, bound to the very processes they were seen in: those of a gateway that was
started anew are others, and nothing of the old is applied to them.
"""

from collections.abc import Iterable, Mapping

from ocmt_agent.memory.ranges import Range, merged, size_of, without
from ocmt_agent.runtime.processes import ProcessId

Pages = Mapping[ProcessId, list[Range]]


def size(pages: Pages) -> int:
    """In bytes."""
    return sum(size_of(ranges) for ranges in pages.values())


def minus(pages: Pages, taken: Pages) -> Pages:
    return {process: without(ranges, taken.get(process, [])) for process, ranges in pages.items()}


def together(parts: Iterable[Pages]) -> Pages:
    found: dict[ProcessId, list[Range]] = {}
    for pages in parts:
        for process, ranges in pages.items():
            found.setdefault(process, []).extend(ranges)
    return {process: merged(ranges) for process, ranges in found.items()}
