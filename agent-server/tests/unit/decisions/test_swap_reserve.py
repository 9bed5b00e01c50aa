from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ocmt_agent.decisions.memory_admission import MIB, HostFigures
from ocmt_agent.decisions.swap_reserve import Sleeper, stop_for_swap, swap_reserve

GIB = 1024 * MIB
HOUR = timedelta(hours=1)


def host(*, swap: int, free: int) -> HostFigures:
    return HostFigures(8 * GIB, 4 * GIB, swap, free, None, swap_disk=swap)


def sleeper(
    user_id: str, *, idle: timedelta, swapped: int = GIB, until_job: timedelta | None = None
) -> Sleeper:
    return Sleeper(user_id, idle, until_job, swapped)


@pytest.mark.parametrize(
    ("total", "reserve"),
    [(0, 0), (2 * GIB, GIB // 2), (8 * GIB, 2 * GIB), (64 * GIB, int(6.4 * GIB))],
)
def test_the_reserve_holds_two_agents_and_a_tenth_but_not_most_of_a_small_swap(
    total: int, reserve: int
) -> None:
    assert swap_reserve(total) == reserve


def test_while_swap_has_room_nobody_is_stopped_however_long_asleep() -> None:
    all_night = [sleeper(f"u{n}", idle=n * HOUR) for n in range(30)]
    assert stop_for_swap(all_night, host(swap=64 * GIB, free=7 * GIB)) == []


def test_the_longest_idle_are_stopped_until_the_reserve_is_free() -> None:
    sleepers = [sleeper("a", idle=HOUR), sleeper("b", idle=3 * HOUR), sleeper("c", idle=2 * HOUR)]
    assert stop_for_swap(sleepers, host(swap=8 * GIB, free=2 * GIB)) == []
    assert stop_for_swap(sleepers, host(swap=8 * GIB, free=2 * GIB - 1)) == ["b"]
    assert stop_for_swap(sleepers, host(swap=8 * GIB, free=0)) == ["b", "c"]


@pytest.mark.parametrize(
    "spared",
    [
        sleeper("x", idle=9 * HOUR, until_job=timedelta(minutes=9)),
        sleeper("x", idle=9 * HOUR, until_job=timedelta(minutes=-1)),
        sleeper("x", idle=9 * HOUR, swapped=0),
    ],
    ids=["job in minutes", "job overdue", "nothing in swap"],
)
def test_an_agent_is_spared_that_would_be_woken_at_once_or_frees_nothing(spared: Sleeper) -> None:
    chosen = stop_for_swap([spared, sleeper("y", idle=HOUR)], host(swap=8 * GIB, free=0))
    assert chosen == ["y"]


amounts = st.integers(0, 4 * GIB)


@given(
    sleepers=st.lists(st.tuples(st.integers(0, 100), amounts), max_size=30),
    total=st.integers(0, 64 * GIB),
    used=st.floats(0, 1),
)
def test_no_more_are_stopped_than_the_reserve_needs_and_the_longest_idle_first(
    sleepers: list[tuple[int, int]], total: int, used: float
) -> None:
    given_host = host(swap=total, free=int(total * (1 - used)))
    known = {f"u{n}": sleeper(f"u{n}", idle=idle * HOUR, swapped=swapped)
             for n, (idle, swapped) in enumerate(sleepers)}  # fmt: skip
    chosen = [known[name] for name in stop_for_swap(known.values(), given_host)]
    lacking = swap_reserve(total) - given_host.swap_free
    freed = sum(one.swapped for one in chosen)
    if chosen:
        assert freed - chosen[-1].swapped < lacking
        kept = [one for one in known.values() if one not in chosen and one.swapped]
        assert all(one.idle <= chosen[-1].idle for one in kept)
    if freed < lacking:
        assert {one.user_id for one in known.values() if one.swapped} == {
            one.user_id for one in chosen
        }
