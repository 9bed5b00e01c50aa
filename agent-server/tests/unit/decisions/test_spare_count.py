from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ocmt_agent.decisions.memory_admission import MIB, HostFigures
from ocmt_agent.decisions.spare_count import (
    is_quiet,
    may_change_host,
    wanted,
    wanted_for_stopped,
)
from ocmt_agent.decisions.swap_reserve import swap_reserve

GIB = 1024 * MIB
HOST = HostFigures(16 * GIB, 12 * GIB, 64 * GIB, 64 * GIB, 0.0, swap_disk=64 * GIB)


@pytest.mark.parametrize(("arrivals", "count"), [(0, 1), (1, 1), (3, 3), (5, 5), (50, 5)])
def test_as_many_are_kept_as_came_lately_within_bounds(arrivals: int, count: int) -> None:
    assert wanted(most=5, arrivals=arrivals, ready=0, host=HOST).count == count


@pytest.mark.parametrize(
    ("most", "host", "why"),
    [
        (0, HOST, "SPARE_AGENTS"),
        (5, None, "no swap"),
        (5, replace(HOST, swap_total=0, swap_free=0, swap_disk=0), "no swap"),
        (5, replace(HOST, swap_disk=0), "no swap"),  # zram takes RAM
        (5, replace(HOST, swap_free=0), "short"),
        (5, replace(HOST, swap_free=swap_reserve(HOST.swap_total)), "short"),
    ],
)
def test_none_where_they_would_cost_ram_or_others_their_swap(
    most: int, host: HostFigures | None, why: str
) -> None:
    found = wanted(most=most, arrivals=9, ready=0, host=host)
    assert found.count == 0
    assert why in found.why


def test_when_swap_gets_short_those_that_are_ready_go_first() -> None:
    short = replace(HOST, swap_free=swap_reserve(HOST.swap_total) - GIB)
    assert wanted(most=5, arrivals=9, ready=5, host=short).count == 4
    assert wanted(most=5, arrivals=9, ready=1, host=replace(short, swap_free=0)).count == 0


@given(
    most=st.integers(0, 100),
    arrivals=st.integers(0, 1000),
    ready=st.integers(0, 100),
    free=st.integers(0, 64),
)
def test_never_more_than_the_setting_or_than_swap_has_room_for(
    most: int, arrivals: int, ready: int, free: int
) -> None:
    host = replace(HOST, swap_free=free * GIB)
    count = wanted(most=most, arrivals=arrivals, ready=ready, host=host).count
    assert 0 <= count <= most
    if count > ready:
        assert host.swap_free - (count - ready) * GIB >= swap_reserve(host.swap_total)


def quiet(host: HostFigures | None = HOST, *, load: float = 0.1, waking: bool = False) -> bool:
    return is_quiet(host, load=load, cores=2, waking=waking)


def test_one_is_made_only_when_that_delays_nobody() -> None:
    assert quiet()
    assert not quiet(None)
    assert not quiet(waking=True)
    assert not quiet(load=2.0)
    assert not quiet(replace(HOST, stalled=5.0))
    assert not quiet(replace(HOST, available=2 * GIB))
    assert quiet(replace(HOST, stalled=None))


@pytest.mark.parametrize(
    ("stopped", "demand", "count"), [(0, 0, 0), (0, 9, 0), (1, 0, 1), (9, 3, 3), (2, 9, 2)]
)
def test_as_many_are_kept_for_stopped_agents_as_are_started(
    stopped: int, demand: int, count: int
) -> None:
    found = wanted_for_stopped(
        most=5, can_hold=True, stopped=stopped, demand=demand, ready=0, host=HOST
    )
    assert found.count == count
    assert found.why


@pytest.mark.parametrize(
    ("most", "can_hold", "host", "why"),
    [
        (0, True, HOST, "SPARE_AGENTS"),
        (5, False, HOST, "held"),
        (5, True, None, "no swap"),
        (5, True, replace(HOST, swap_disk=0), "no swap"),
        (5, True, replace(HOST, swap_free=0), "short"),
    ],
)
def test_none_for_stopped_agents_where_they_cannot_be_or_cost_too_much(
    most: int, can_hold: bool, host: HostFigures | None, why: str
) -> None:
    found = wanted_for_stopped(
        most=most, can_hold=can_hold, stopped=9, demand=9, ready=0, host=host
    )
    assert found.count == 0
    assert why in found.why


@pytest.mark.parametrize(
    ("exit_code", "minutes", "may"),
    [(0, 0, True), (137, 1, False), (None, 5, False), (137, 7, True), (None, 7, True)],
)
def test_a_lease_that_was_not_given_up_ends_by_itself(
    exit_code: int | None, minutes: int, may: bool
) -> None:
    assert may_change_host(exit_code=exit_code, stopped_for=timedelta(minutes=minutes)) is may
