"""Converts a user's policy from the API's schema to the type that `decisions` uses."""

from datetime import time, timedelta
from zoneinfo import ZoneInfo

from ocmt_common.agent_api import AgentPolicy, OfficeHours, Weekday

from ocmt_agent.decisions.office_hours import Hours
from ocmt_agent.decisions.sleep_policy import Wishes

_DAYS = {day: number for number, day in enumerate(Weekday)}


def wishes(policy: AgentPolicy) -> Wishes:
    return Wishes(
        pause_after=_span(policy.pause_after_ms),
        stop_after=_span(policy.stop_after_ms),
        never_sleep=policy.never_sleep,
        office_hours=_hours(policy.office_hours) if policy.office_hours else None,
        max_awake=_span(policy.max_awake_ms),
    )


def _span(milliseconds: int | None) -> timedelta | None:
    return None if milliseconds is None else timedelta(milliseconds=milliseconds)


def _hours(given: OfficeHours) -> Hours:
    return Hours(
        ZoneInfo(given.time_zone),
        frozenset(_DAYS[day] for day in given.days),
        time.fromisoformat(given.from_),
        time.fromisoformat(given.to),
    )
