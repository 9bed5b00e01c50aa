from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ocmt_agent.decisions.memory_admission import (
    MIB,
    Candidate,
    Eviction,
    HostFigures,
    Relief,
    make_room,
    need_bytes,
    short_by,
)
from ocmt_common.agent_api import HibernationState as S

GIB = 1024 * MIB
HOUR = timedelta(hours=1)


def host(
    *, available: int, swap_free: int = 0, stalled: float | None = None, total: int = 8 * GIB
) -> HostFigures:
    return HostFigures(total, available, swap_free, swap_free, stalled)


def one(
    user_id: str,
    state: S,
    *,
    idle: timedelta = HOUR,
    until_job: timedelta | None = None,
    in_flight: int = 0,
    never_sleeps: bool = False,
    frees: int | None = None,
) -> Candidate:
    return Candidate(user_id, state, idle, until_job, in_flight, never_sleeps, frees)


def test_a_wake_fits_where_it_leaves_the_reserve() -> None:
    reserve = int(8 * GIB * 0.05)
    assert short_by(host(available=GIB + reserve), GIB, promised=0) == 0
    assert short_by(host(available=GIB + reserve - 1), GIB, promised=0) == 1
    assert short_by(host(available=GIB + reserve), GIB, promised=5 * MIB) == 5 * MIB


def test_a_small_host_keeps_a_quarter_of_a_gigabyte() -> None:
    small = host(available=GIB, total=GIB)
    assert short_by(small, GIB, promised=0) == 256 * MIB


def test_a_host_that_stalls_on_memory_has_no_room() -> None:
    assert short_by(host(available=6 * GIB, stalled=19.9), GIB, promised=0) == 0
    assert short_by(host(available=6 * GIB, stalled=20.0), GIB, promised=0) == GIB


def test_a_thaw_needs_less_than_a_boot_and_no_more_than_was_swapped() -> None:
    assert need_bytes(S.PAUSED) < need_bytes(S.STOPPED)
    assert need_bytes(S.PAUSED, swapped=5 * MIB) == 5 * MIB
    assert need_bytes(S.PAUSED, swapped=GIB) == need_bytes(S.PAUSED)


def test_into_swap_the_idle_are_paused_before_any_sleeper_is_stopped() -> None:
    others = [
        one("awake", S.RUNNING, idle=HOUR, frees=GIB),
        one("asleep", S.PAUSED, idle=9 * HOUR, frees=GIB // 20),
    ]
    swap = host(available=0, swap_free=4 * GIB)
    assert make_room(others, swap, GIB) == [Eviction("awake", Relief.PAUSE)]
    assert make_room(others, swap, GIB + 1) == [
        Eviction("awake", Relief.PAUSE),
        Eviction("asleep", Relief.STOP),
    ]


def test_without_swap_the_longest_paused_is_stopped_first() -> None:
    others = [
        one("awake", S.RUNNING, idle=9 * HOUR, frees=GIB),
        one("new", S.PAUSED, idle=HOUR, frees=GIB // 2),
        one("old", S.PAUSED, idle=5 * HOUR, frees=GIB // 2),
    ]
    bare = host(available=0)
    assert make_room(others, bare, GIB // 2) == [Eviction("old", Relief.STOP)]
    assert make_room(others, bare, GIB) == [
        Eviction("old", Relief.STOP),
        Eviction("new", Relief.STOP),
    ]
    assert make_room(others, bare, 2 * GIB)[-1] == Eviction("awake", Relief.STOP)


def test_reclaimed_agents_are_stopped_last_since_they_hold_almost_nothing() -> None:
    others = [
        *(one(f"asleep{n}", S.PAUSED, idle=90 * HOUR, frees=40 * MIB) for n in range(30)),
        one("awake", S.RUNNING, idle=HOUR, frees=GIB),
    ]
    swap = host(available=0, swap_free=4 * GIB)
    assert make_room(others, swap, GIB) == [Eviction("awake", Relief.PAUSE)]
    assert len(make_room(others, swap, 2 * GIB)) == 1 + 26


def test_without_swap_a_pause_frees_nothing_so_the_idle_are_stopped() -> None:
    others = [one("awake", S.RUNNING)]
    assert make_room(others, host(available=0), GIB) == [Eviction("awake", Relief.STOP)]


@pytest.mark.parametrize(
    "kept",
    [
        one("ada", S.RUNNING, in_flight=1),
        one("ada", S.RUNNING, idle=timedelta(seconds=59)),
        one("ada", S.RUNNING, never_sleeps=True),
        one("ada", S.PAUSED, until_job=timedelta(minutes=9)),
        one("ada", S.PAUSED, until_job=-HOUR),
        one("ada", S.STOPPED),
        one("ada", S.WAKING),
    ],
)
def test_an_agent_that_works_or_will_soon_is_not_evicted(kept: Candidate) -> None:
    assert make_room([kept], host(available=0), GIB) == []


candidates = st.lists(
    st.builds(
        one,
        st.uuids().map(str),
        st.sampled_from(S),
        idle=st.timedeltas(timedelta(), timedelta(days=9)),
        until_job=st.none() | st.timedeltas(-HOUR, 9 * HOUR),
        in_flight=st.integers(0, 1),
        never_sleeps=st.booleans(),
        frees=st.none() | st.integers(0, GIB),
    ),
    max_size=20,
)


@given(candidates, st.integers(0, 8 * GIB), st.integers(0, 8 * GIB))
def test_no_more_agents_are_evicted_than_needed_and_none_twice(
    others: list[Candidate], lacking: int, swap_free: int
) -> None:
    chosen = make_room(others, host(available=0, swap_free=swap_free), lacking)
    by_user = {c.user_id: c for c in others}
    assert len({e.user_id for e in chosen}) == len(chosen)
    for eviction in chosen:
        candidate = by_user[eviction.user_id]
        assert not candidate.in_flight
        assert not candidate.never_sleeps
    known = [by_user[e.user_id].frees for e in chosen[:-1]]
    if chosen and all(k is not None for k in known):
        assert sum(k for k in known if k is not None) < lacking
