"""The pages that an agent uses to wake and answer, learned from its wakes. Pure.

Prefetched pages are mapped, so their use cannot be observed. Each wake therefore leaves another
part of them unmapped, and the unused pages of that part are forgotten. Pages in small gaps are
prefetched, too, but do not count as used.
"""

from dataclasses import dataclass

from ocmt_agent.memory.page_sets import Pages, among, minus, packed, size, together
from ocmt_agent.memory.ranges import PAGE, merged, without

_LEFT_EACH = 8
"""One batch in this many is left unmapped; after as many wakes, each batch was once."""
_FIRST_MOST = 96 << 20
"""Reading this many bytes takes 0.1 to 0.4 s, in which the gateway's own reads wait."""
_USED_AT_LEAST = 0.3
_GAP = 8 * PAGE
"""Reading a gap smaller than this takes less time than a seek."""


@dataclass(frozen=True, slots=True)
class WorkingSet:
    first: Pages
    """Pages used until the gateway accepts work, and for a first short answer."""
    then: Pages
    """Other pages used until the first answer is complete."""

    @property
    def size(self) -> int:
        """The size in bytes."""
        return size(self.first) + size(self.then)

    def packed(self) -> "WorkingSet":
        """A compact form of this working set."""
        return WorkingSet(packed(self.first), packed(self.then))

    def spare(self, pages: Pages) -> Pages:
        """The pages of `pages` that are not in the working set."""
        return minus(minus(pages, self.first), self.then)

    def filled(self, held: Pages) -> "WorkingSet":
        """The pages to write out and read in: only those in `held`, with small gaps filled.

        The number of disk requests determines the time, so few long ones are better. `first` is not
        filled, because each further byte there delays the gateway.
        """
        first = among(self.first, held)
        return WorkingSet(first, minus(_filled(self.then, held), first))


def left_unmapped(wake: int, turn: int) -> bool:
    """Whether to leave batch number `turn` unmapped in the agent's wake number `wake`."""
    return (wake + turn) % _LEFT_EACH == 0


def learned(
    known: WorkingSet | None,
    *,
    held: Pages | None = None,
    first: Pages,
    used: Pages,
    mapped: Pages,
    unmapped: Pages,
) -> WorkingSet:
    """The working set after another wake, for which `mapped` and `unmapped` were prefetched.

    `first`: pages that the agent itself had mapped when its first short answer was complete;
    `used`: all pages mapped some time later. If fewer than 30 % of the unmapped pages were used,
    the sample is not conclusive and no page is forgotten. A very large `first` was taken during a
    long answer and is ignored. Pages that the agent did not have when paused (`held`) do not count.
    """
    if known is None:
        known = WorkingSet({}, {})
    if held is not None:
        first, used = among(first, held), among(used, held)
    shown = among(unmapped, together([known.first, known.then]))  # without the gaps
    unused = minus(shown, used)
    if size(unused) > (1 - _USED_AT_LEAST) * size(shown):
        unused = {}
    both = together([known.first, first])
    first = minus(both if size(both) <= _FIRST_MOST else known.first, unused)
    then = minus(together([known.then, minus(used, mapped)]), unused)
    return WorkingSet(first, minus(then, first))


def _filled(pages: Pages, held: Pages) -> Pages:
    found = {}
    for process, ranges in pages.items():
        wide = merged(ranges, gap=_GAP)
        found[process] = without(wide, without(wide, held.get(process, [])))
    return found
