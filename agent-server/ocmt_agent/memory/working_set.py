"""Which pages an agent uses when it wakes and answers, learned wake by wake. Pure.

What a wake brought in is mapped whether it was needed or not, so use does not show on it. A part of
it is therefore only read each time, another part with each wake, and what of that nobody touched is
forgotten. What lies in small gaps is brought in too and never taken for used because of that.
"""

from dataclasses import dataclass

from ocmt_agent.memory.page_sets import Pages, among, minus, packed, size, together
from ocmt_agent.memory.ranges import PAGE, merged, without

_LEFT_EACH = 8
"""Of so many turns of reading one is left unmapped: all have been after as many wakes."""
_FIRST_MOST = 96 << 20
"""Reading so much takes 0.1 to 0.4 s, in which the gateway waits for what it reads itself."""
_USED_AT_LEAST = 0.3
_GAP = 8 * PAGE
"""What lies between two pages and is less than this is read in less time than is lost at a jump."""


@dataclass(frozen=True, slots=True)
class WorkingSet:
    first: Pages
    """What it used until its gateway took work again, and for a first short answer."""
    then: Pages
    """What it used besides until its first answer was given."""

    @property
    def size(self) -> int:
        """In bytes."""
        return size(self.first) + size(self.then)

    def packed(self) -> "WorkingSet":
        """The same, to be kept."""
        return WorkingSet(packed(self.first), packed(self.then))

    def spare(self, pages: Pages) -> Pages:
        """Those of the pages that it can do without."""
        return minus(minus(pages, self.first), self.then)

    def filled(self, held: Pages) -> "WorkingSet":
        """What to write out and read in: only pages there are (`held`), and the small gaps.

        Pages that are written out together and read together come in few, long requests; their
        number is what a disk's time goes into. What comes first stays as it is: there each byte
        more holds up the gateway.
        """
        first = among(self.first, held)
        return WorkingSet(first, minus(_filled(self.then, held), first))


def left_unmapped(wake: int, turn: int) -> bool:
    """Whether a turn of reading is left unmapped in the agent's wake of that number."""
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
    """What is known after one more wake, for which `mapped` and `unmapped` were brought in.

    `first` it had mapped itself by its first short answer, `used` was mapped some time later. A
    wake that touched little of what was only read was followed by no turn: nothing is forgotten. A
    look that came only while the gateway was at a long answer does not tell what it needed to come
    back. Pages that are not among those it `held` in its sleep it made since: nothing of its sleep
    was used there.
    """
    if known is None:
        known = WorkingSet({}, {})
    if held is not None:
        first, used = among(first, held), among(used, held)
    shown = among(unmapped, together([known.first, known.then]))  # and not the gaps
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
