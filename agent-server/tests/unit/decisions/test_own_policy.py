"""One user's own times take precedence over the server's."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ocmt_agent.decisions.office_hours import Hours
from ocmt_agent.decisions.sleep_policy import (
    Action,
    Situation,
    SleepReason,
    Times,
    WakeReason,
    Wishes,
    clock_jump,
    decide,
    sleep_reason,
    wake_reason,
)
from ocmt_agent.records.policy_mapping import wishes
from ocmt_common.agent_api import AgentPolicy
from ocmt_common.agent_api import HibernationState as S
from pydantic import ValidationError

MINUTE = timedelta(minutes=1)
HOUR = 60 * MINUTE
TIMES = Times(pause_after=30 * MINUTE, stop_after=240 * MINUTE, check_interval=MINUTE)
ZERO = timedelta()
LONG = 9999 * MINUTE
BERLIN = ZoneInfo("Europe/Berlin")
WEEKDAYS = Hours(BERLIN, frozenset(range(5)), time(9), time(17, 30))


def awake(*, idle: timedelta, wishes: Wishes, in_state: timedelta = HOUR) -> Situation:
    return Situation(S.RUNNING, idle, in_state, in_flight=0, until_job=None, wishes=wishes)


def test_own_times_take_precedence_over_the_servers() -> None:
    patient = Wishes(pause_after=2 * HOUR, stop_after=MINUTE)
    assert decide(awake(idle=119 * MINUTE, wishes=patient), TIMES) is Action.NOTHING
    assert decide(awake(idle=120 * MINUTE, wishes=patient), TIMES) is Action.PAUSE
    asleep = Situation(S.PAUSED, LONG, 2 * MINUTE, in_flight=0, until_job=None, wishes=patient)
    assert decide(asleep, TIMES) is Action.STOP


def test_an_agent_that_never_sleeps_stays_awake_and_is_woken_after_a_crash() -> None:
    always = Wishes(never_sleep=True)
    assert decide(awake(idle=LONG, wishes=always), TIMES) is Action.NOTHING
    for state in (S.PAUSED, S.STOPPED, S.FAILED):
        crashed = Situation(state, LONG, ZERO, in_flight=0, until_job=None, wishes=always)
        assert wake_reason(crashed, TIMES) is WakeReason.NEVER_SLEEPS
        ordered = Situation(
            state, LONG, ZERO, in_flight=0, until_job=None, wishes=always, ordered=True
        )
        assert decide(ordered, TIMES) is not Action.WAKE


@pytest.mark.parametrize(
    ("in_state", "in_flight", "rest"),
    [(59 * MINUTE, 0, None), (60 * MINUTE, 0, SleepReason.MAX_AWAKE), (60 * MINUTE, 1, None)],
)
def test_an_agent_is_awake_no_longer_than_allowed_but_its_work_is_not_cut(
    in_state: timedelta, in_flight: int, rest: SleepReason | None
) -> None:
    short = Wishes(max_awake=HOUR)
    used = Situation(S.RUNNING, ZERO, in_state, in_flight, until_job=None, wishes=short)
    assert sleep_reason(used, TIMES) is rest


def test_in_office_hours_it_stays_awake_and_is_woken_once_when_they_begin() -> None:
    def asleep_for(in_state: timedelta, *, office_for: timedelta | None) -> Situation:
        return Situation(S.STOPPED, LONG, in_state, 0, until_job=None, office_for=office_for)

    inside = Situation(S.RUNNING, LONG, HOUR, 0, until_job=None, office_for=MINUTE)
    assert decide(inside, TIMES) is Action.NOTHING
    assert wake_reason(asleep_for(HOUR, office_for=MINUTE), TIMES) is WakeReason.OFFICE
    # Put to sleep within them, by a shortage of memory: not woken again and again.
    assert wake_reason(asleep_for(MINUTE, office_for=HOUR), TIMES) is None
    assert wake_reason(asleep_for(HOUR, office_for=None), TIMES) is None


@pytest.mark.parametrize(
    ("at", "began"),
    [
        ("2026-11-23T07:59+00:00", None),  # Monday, 8:59 in Berlin
        ("2026-11-23T08:00+00:00", "2026-11-23T08:00+00:00"),
        ("2026-11-23T16:29+00:00", "2026-11-23T08:00+00:00"),
        ("2026-11-23T16:30+00:00", None),
        ("2026-11-22T10:00+00:00", None),  # Sunday
        ("2026-07-20T07:00+00:00", "2026-07-20T07:00+00:00"),  # summer time
    ],
)
def test_office_hours_are_those_of_the_users_time_zone(at: str, began: str | None) -> None:
    since = WEEKDAYS.since(datetime.fromisoformat(at))
    assert since == (None if began is None else datetime.fromisoformat(began))


def test_a_night_shift_extends_into_the_next_day() -> None:
    nights = Hours(ZoneInfo("UTC"), frozenset({4}), time(22), time(6))  # from Friday evening
    friday_evening = datetime(2026, 11, 27, 22, 0, tzinfo=UTC)
    assert nights.since(datetime(2026, 11, 28, 5, 59, tzinfo=UTC)) == friday_evening
    assert nights.since(datetime(2026, 11, 28, 6, 0, tzinfo=UTC)) is None
    assert nights.since(datetime(2026, 11, 27, 5, 0, tzinfo=UTC)) is None
    assert nights.next_start(datetime(2026, 11, 23, tzinfo=UTC)) == friday_evening


@given(
    minute=st.integers(0, 365 * 24 * 60),
    days=st.frozensets(st.integers(0, 6), min_size=1),
    start=st.times().map(lambda t: t.replace(second=0, microsecond=0)),
    end=st.times().map(lambda t: t.replace(second=0, microsecond=0)),
    zone=st.sampled_from(["Europe/Berlin", "America/New_York", "Pacific/Auckland", "UTC"]),
)
def test_hours_begin_again_within_eight_days_and_hold_then(
    minute: int, days: frozenset[int], start: time, end: time, zone: str
) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC) + minute * MINUTE
    hours = Hours(ZoneInfo(zone), days, start, end)
    begins = hours.next_start(now)
    assert now < begins <= now + timedelta(days=8, hours=2)
    if start != end:
        since = hours.since(begins)
        # A span that a change of the clocks swallows whole does not take place.
        assert since is None or since <= begins


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"pauseAfterMs": 5}, "1000"),
        ({"pauseAfter": 5000}, "pauseAfter"),
        ({"neverSleep": True, "maxAwakeMs": 5000}, "contradict"),
        ({"officeHours": {
            "timeZone": "Mars/Base", "days": ["mon"], "from": "09:00", "to": "17:00"}}, "IANA"),
        ({"officeHours": {
            "timeZone": "UTC", "days": ["mon"], "from": "9", "to": "17:00"}}, "pattern"),
        ({"officeHours": {
            "timeZone": "UTC", "days": ["mon"], "from": "09:00", "to": "09:00"}}, "differ"),
        ({"officeHours": {
            "timeZone": "UTC", "days": ["mon", "mon"], "from": "09:00", "to": "10:00"}}, "once"),
        ({"officeHours": {
            "timeZone": "UTC", "days": [], "from": "09:00", "to": "10:00"}}, "1 item"),
    ],
)  # fmt: skip
def test_an_impossible_policy_is_refused_with_the_reason(
    body: dict[str, object], told: str
) -> None:
    with pytest.raises(ValidationError, match=told):
        AgentPolicy.model_validate(body)


def test_a_policy_is_mapped_to_the_decisions_input() -> None:
    policy = AgentPolicy.model_validate(
        {
            "pauseAfterMs": 60_000,
            "officeHours": {
                "timeZone": "Europe/Berlin",
                "days": ["mon", "tue", "wed", "thu", "fri"],
                "from": "09:00",
                "to": "17:30",
            },
        }
    )
    assert wishes(policy) == Wishes(pause_after=MINUTE, office_hours=WEEKDAYS)
    assert wishes(AgentPolicy()) == Wishes()


@pytest.mark.parametrize(
    ("wall", "monotonic_s", "jump"),
    [
        (MINUTE, 60.0, None),
        (MINUTE + timedelta(seconds=3), 60.0, None),
        (2 * HOUR, 60.0, 2 * HOUR - MINUTE),
        (-HOUR, 60.0, -HOUR - MINUTE),
    ],
)
def test_a_jump_of_the_clock_is_distinguished_from_drift(
    wall: timedelta, monotonic_s: float, jump: timedelta | None
) -> None:
    assert clock_jump(wall, monotonic_s) == jump
