"""What is learned of an agent's working set, wake by wake."""

from ocmt_agent.memory.ranges import PAGE, Range
from ocmt_agent.memory.working_set import WorkingSet, learned, size, turns
from ocmt_agent.runtime.processes import ProcessId

NODE, BROKER = ProcessId(10, 500), ProcessId(11, 600)


def pages(start: int, count: int) -> list[Range]:
    return [Range(start * PAGE, (start + count) * PAGE)]


def test_the_first_wake_shows_what_comes_first_and_what_after() -> None:
    known = learned(
        None,
        first={NODE: pages(0, 10), BROKER: pages(0, 2)},
        used={NODE: pages(0, 30), BROKER: pages(0, 2)},
    )
    assert known == WorkingSet(
        first={NODE: pages(0, 10), BROKER: pages(0, 2)},
        then={NODE: pages(10, 20), BROKER: []},
        earlier={},
    )
    assert known.size == 32 * PAGE


def test_the_next_one_keeps_what_only_the_one_before_used_for_last() -> None:
    before = learned(None, first={NODE: pages(0, 10)}, used={NODE: pages(0, 30)})
    after = learned(before, first={NODE: pages(0, 12)}, used={NODE: pages(0, 25)})
    assert after.first == {NODE: pages(0, 12)}
    assert after.then == {NODE: pages(12, 13)}
    assert after.earlier == {NODE: pages(25, 5)}


def test_a_wake_without_a_turn_teaches_nothing() -> None:
    before = learned(None, first={NODE: pages(0, 10)}, used={NODE: pages(0, 100)})
    assert learned(before, first={NODE: pages(0, 10)}, used={NODE: pages(0, 20)}) is before


def test_what_is_not_in_it_can_be_spared() -> None:
    known = WorkingSet({NODE: pages(0, 2)}, {NODE: pages(4, 2)}, {NODE: pages(8, 2)})
    assert known.spare({NODE: pages(0, 12), BROKER: pages(0, 3)}) == {
        NODE: [*pages(2, 2), *pages(6, 2), *pages(10, 2)],
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


def test_a_look_that_came_too_late_is_not_taken_for_what_a_gateway_needs_first() -> None:
    late, used = pages(0, 20_000), pages(0, 60_000)
    assert size(learned(None, first={NODE: late}, used={NODE: used}).first) == 0
    before = learned(None, first={NODE: pages(0, 10)}, used={NODE: used})
    after = learned(before, first={NODE: late}, used={NODE: used})
    assert after.first == before.first
    assert after.size == size({NODE: used})
