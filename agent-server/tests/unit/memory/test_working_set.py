"""How an agent's working set is learned, wake by wake."""

from hypothesis import given
from hypothesis import strategies as st
from ocmt_agent.memory.page_sets import Pages, size, together
from ocmt_agent.memory.pages import turns
from ocmt_agent.memory.ranges import PAGE, Range
from ocmt_agent.memory.working_set import WorkingSet, learned, left_unmapped
from ocmt_agent.runtime.processes import ProcessId

NODE, BROKER = ProcessId(10, 500), ProcessId(11, 600)


def pages(start: int, count: int) -> list[Range]:
    return [Range(start * PAGE, (start + count) * PAGE)]


def test_the_first_wake_shows_what_comes_first_and_what_after() -> None:
    known = learned(
        None,
        first={NODE: pages(0, 10), BROKER: pages(0, 2)},
        used={NODE: pages(0, 30), BROKER: pages(0, 2)},
        mapped={},
        unmapped={},
    )
    assert known == WorkingSet(
        first={NODE: pages(0, 10), BROKER: pages(0, 2)},
        then={NODE: pages(10, 20), BROKER: []},
    )
    assert known.size == 32 * PAGE


def test_what_was_only_read_and_not_touched_is_forgotten_and_nothing_else() -> None:
    known = WorkingSet({NODE: pages(0, 10)}, {NODE: pages(20, 80)})
    after = learned(
        known,
        first={NODE: pages(0, 12)},
        used={NODE: [*pages(0, 12), *pages(20, 27), *pages(50, 40), *pages(200, 5)]},
        mapped={NODE: pages(20, 20)},
        unmapped={NODE: pages(40, 10)},  # seven of these ten were touched
    )
    assert after.first == {NODE: pages(0, 12)}
    # Those from 90 on were not reached this time: it is unknown yet.
    assert after.then == {NODE: [*pages(20, 27), *pages(50, 50), *pages(200, 5)]}


def test_pages_read_to_fill_gaps_do_not_show_whether_a_turn_followed() -> None:
    known = WorkingSet({}, {NODE: [*pages(0, 4), *pages(20, 40)]})
    after = learned(
        known,
        first={},
        used={NODE: pages(0, 3)},
        mapped={},
        unmapped={NODE: pages(0, 20)},  # three of the four that were known, and sixteen others
    )
    assert after.then == {NODE: [*pages(0, 3), *pages(20, 40)]}


def test_a_wake_without_a_turn_forgets_nothing() -> None:
    known = WorkingSet({NODE: pages(0, 10)}, {NODE: pages(20, 80)})
    after = learned(
        known,
        first={NODE: pages(0, 10)},
        used={NODE: pages(0, 12)},
        mapped={},
        unmapped={NODE: pages(40, 10)},
    )
    assert after == WorkingSet({NODE: pages(0, 10)}, {NODE: [*pages(10, 2), *pages(20, 80)]})


def test_pages_mapped_to_fill_gaps_do_not_count_as_used() -> None:
    known = WorkingSet({NODE: pages(0, 2)}, {NODE: pages(10, 2)})
    everything = {NODE: pages(0, 20)}
    after = learned(known, first={}, used=everything, mapped=everything, unmapped={})
    assert after == known
    # In a turn that was only read it shows that one was used.
    after = learned(known, first={}, used=everything, mapped={}, unmapped={NODE: pages(12, 1)})
    assert after.then == {NODE: pages(2, 18)}


def test_pages_needed_first_are_learned_even_if_they_were_read_later_before() -> None:
    known = WorkingSet({}, {NODE: pages(0, 30)})
    everything = {NODE: pages(0, 30)}
    # It had these itself before the rest was brought in for it.
    after = learned(
        known, first={NODE: pages(4, 6)}, used=everything, mapped=everything, unmapped={}
    )
    assert after.first == {NODE: pages(4, 6)}
    assert after.then == {NODE: [*pages(0, 4), *pages(10, 20)]}


def test_pages_created_since_the_wake_do_not_count_as_used() -> None:
    after = learned(
        None,
        held={NODE: pages(0, 20)},
        first={NODE: pages(18, 4)},
        used={NODE: [*pages(0, 2), *pages(18, 40)], BROKER: pages(0, 2)},
        mapped={},
        unmapped={},
    )
    assert after == WorkingSet({NODE: pages(18, 2)}, {NODE: pages(0, 2), BROKER: []})


def test_every_turn_of_reading_is_left_unmapped_once_in_a_round_of_wakes() -> None:
    for turn in range(100):
        assert sum(left_unmapped(wake, turn) for wake in range(8)) == 1


def test_small_gaps_are_filled_with_existing_pages_except_in_the_first_part() -> None:
    known = WorkingSet({NODE: [*pages(0, 2), *pages(6, 2)]}, {NODE: [*pages(9, 4), *pages(30, 2)]})
    full = known.filled({NODE: [*pages(0, 4), *pages(5, 5), *pages(11, 40)]})
    assert full.first == {NODE: [*pages(0, 2), *pages(6, 2)]}
    assert full.then == {NODE: [*pages(9, 1), *pages(11, 2), *pages(30, 2)]}  # one is gone
    near = WorkingSet({}, {NODE: [*pages(0, 1), *pages(9, 1)]})
    assert near.filled({NODE: pages(0, 40)}).then == {NODE: pages(0, 10)}


def test_packed_it_is_the_same() -> None:
    known = WorkingSet({NODE: pages(0, 2)}, {NODE: [*pages(5, 2), *pages(9, 1)], BROKER: []})
    kept = known.packed()
    assert kept.size == known.size
    assert {who: list(ranges) for who, ranges in kept.then.items()} == known.then
    assert len(kept.then[NODE]) == 2
    assert pages(9, 1)[0] in kept.then[NODE]
    assert pages(9, 2)[0] not in kept.then[NODE]


@st.composite
def some_pages(draw: st.DrawFn) -> Pages:
    starts = draw(st.lists(st.tuples(st.integers(0, 90), st.integers(1, 8)), max_size=10))
    return together([{NODE: pages(start, count)} for start, count in starts])


@given(some_pages(), some_pages(), some_pages())
def test_filling_adds_only_existing_pages_and_drops_only_missing_ones(
    first: Pages, then: Pages, held: Pages
) -> None:
    def numbers(found: Pages) -> set[int]:
        return {
            page
            for one in found.get(NODE, [])
            for page in range(one.start // PAGE, one.end // PAGE)
        }

    full = WorkingSet(first, then).filled(held)
    both = numbers(full.first) | numbers(full.then)
    assert not numbers(full.first) & numbers(full.then)
    assert both <= numbers(held)
    assert both >= (numbers(first) | numbers(then)) & numbers(held)
    assert full.filled(held) == full


def test_what_is_not_in_it_can_be_spared() -> None:
    known = WorkingSet({NODE: pages(0, 2)}, {NODE: pages(4, 2)})
    assert known.spare({NODE: pages(0, 8), BROKER: pages(0, 3)}) == {
        NODE: [*pages(2, 2), *pages(6, 2)],
        BROKER: pages(0, 3),
    }


def test_turns_end_where_the_bound_is() -> None:
    wanted = {NODE: pages(0, 4096), BROKER: pages(0, 4096)}
    taken = list(turns(wanted, at_most=20 << 20))
    assert [(who, sum(one.size for one in batch)) for who, batch in taken] == [
        (NODE, 4 << 20),
        (NODE, 4 << 20),
        (NODE, 4 << 20),
        (NODE, 4 << 20),
        (BROKER, 4 << 20),
    ]


def test_a_late_reading_does_not_define_what_a_gateway_needs_first() -> None:
    late, used = pages(0, 30_000), pages(0, 60_000)
    fresh = learned(None, first={NODE: late}, used={NODE: used}, mapped={}, unmapped={})
    assert size(fresh.first) == 0
    before = learned(None, first={NODE: pages(0, 10)}, used={NODE: used}, mapped={}, unmapped={})
    after = learned(before, first={NODE: late}, used={NODE: used}, mapped={}, unmapped={})
    assert after.first == before.first
    assert after.size == size({NODE: used})
