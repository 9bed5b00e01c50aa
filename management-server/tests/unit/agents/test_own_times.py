"""The times that people set for their own agent, within the operator's bounds."""

from typing import Any

import pytest
from ocmt_common.agent_api import AgentPolicy, OfficeHours
from ocmt_common.problems import Problem
from ocmt_management.agents.own_times import Bounds, changed, hours_a_week, shown
from ocmt_management.agents.schemas import OwnTimes

BOUNDS = Bounds(idle_minutes=120, awake_hours=40, heartbeat_minutes=30)
NONE = Bounds(idle_minutes=0, awake_hours=0, heartbeat_minutes=0)


def hours(days: list[str], begin: str, end: str) -> OfficeHours:
    return OfficeHours.model_validate(
        {"timeZone": "Europe/Berlin", "days": days, "from": begin, "to": end}
    )


WORK = hours(["mon", "tue", "wed", "thu", "fri"], "09:00", "17:00")


def wanted(**values: Any) -> OwnTimes:
    fields = {"idle_minutes": None, "office_hours": None, "heartbeat_minutes": None}
    return OwnTimes(**(fields | values))


@pytest.mark.parametrize(
    ("own", "a_week"),
    [
        (WORK, 40),
        (hours(["sat"], "22:00", "06:00"), 8),
        (hours(["mon", "sun"], "23:59", "00:00"), 2 / 60),
    ],
)
def test_hours_a_week_span_midnight(own: OfficeHours, a_week: float) -> None:
    assert hours_a_week(own) == pytest.approx(a_week)


def test_times_within_the_bounds_are_set_and_shown() -> None:
    times = wanted(idle_minutes=120, office_hours=WORK, heartbeat_minutes=30)
    policy = changed(AgentPolicy(), times, BOUNDS)
    assert (policy.pause_after_ms, policy.office_hours) == (7_200_000, WORK)
    view = shown(policy, BOUNDS)
    assert (view.idle_minutes, view.office_hours, view.heartbeat_minutes) == (120, WORK, 30)
    assert changed(policy, wanted(), BOUNDS) == AgentPolicy()


@pytest.mark.parametrize(
    "times",
    [
        wanted(idle_minutes=121),
        wanted(office_hours=hours(["mon", "tue", "wed", "thu", "fri"], "09:00", "17:01")),
        wanted(office_hours=hours(["mon", "wed"], "00:01", "00:00")),
        wanted(heartbeat_minutes=29),
    ],
)
def test_times_out_of_bounds_are_refused_with_the_bound(times: OwnTimes) -> None:
    if times.office_hours is not None and hours_a_week(times.office_hours) > 47:
        bounds = Bounds(idle_minutes=120, awake_hours=47, heartbeat_minutes=30)
    else:
        bounds = BOUNDS
    with pytest.raises(Problem) as refused:
        changed(AgentPolicy(), times, bounds)
    assert (refused.value.status, refused.value.code) == (422, "times-out-of-bounds")
    assert any(c.isdigit() for c in refused.value.detail)


@pytest.mark.parametrize(
    "times", [wanted(idle_minutes=1), wanted(office_hours=WORK), wanted(heartbeat_minutes=1440)]
)
def test_what_the_operator_does_not_allow_is_refused(times: OwnTimes) -> None:
    with pytest.raises(Problem) as refused:
        changed(AgentPolicy(), times, NONE)
    assert refused.value.code == "times-out-of-bounds"


def test_what_an_operator_set_stays() -> None:
    policy = AgentPolicy(
        pause_after_ms=36_000_000, stop_after_ms=5_000, never_sleep=True, heartbeat_minutes=5,
        office_hours=hours(["mon"], "00:00", "23:00"),
    )  # fmt: skip
    same = wanted(idle_minutes=600, office_hours=policy.office_hours, heartbeat_minutes=5)
    assert changed(policy, same, NONE) == policy
    less = changed(policy, wanted(idle_minutes=600, office_hours=policy.office_hours), NONE)
    assert (less.heartbeat_minutes, less.never_sleep, less.stop_after_ms) == (None, True, 5_000)


def test_a_time_that_is_no_whole_minute_is_shown_rounded_up_and_kept() -> None:
    policy = AgentPolicy(pause_after_ms=90_000)
    assert shown(policy, BOUNDS).idle_minutes == 2
    assert changed(policy, wanted(idle_minutes=2), BOUNDS) == policy
