"""The times that a user may set for their own agent, within the operator's bounds. Pure.

Longer times awake cost the host memory, and a heartbeat costs model calls, so an operator bounds
both. What an operator has set for one agent through the agent server's API stays as it is.
"""

import math
from dataclasses import dataclass

from ocmt_common.agent_api import AgentPolicy, OfficeHours
from ocmt_common.problems import Problem

from ocmt_management.agents.schemas import OwnTimes, TimesBounds, TimesView

_MINUTE_MS = 60_000
_DAY_MINUTES = 24 * 60


@dataclass(frozen=True, slots=True)
class Bounds:
    idle_minutes: int
    """The longest idle time until a pause; 0: not the user's to set."""
    awake_hours: int
    """The most office hours a week; 0: none."""
    heartbeat_minutes: int
    """The shortest interval of a heartbeat; 0: no heartbeat."""


def shown(policy: AgentPolicy, bounds: Bounds) -> TimesView:
    return TimesView(
        idle_minutes=_minutes(policy.pause_after_ms),
        office_hours=policy.office_hours,
        heartbeat_minutes=policy.heartbeat_minutes,
        never_sleeps=policy.never_sleep,
        bounds=TimesBounds(
            idle_minutes_max=bounds.idle_minutes,
            awake_hours_max=bounds.awake_hours,
            heartbeat_minutes_min=bounds.heartbeat_minutes,
        ),
    )


def changed(policy: AgentPolicy, wanted: OwnTimes, bounds: Bounds) -> AgentPolicy:
    """`policy` with the user's own times. Raises `Problem` if a new one is out of bounds.

    An unchanged one is kept, even out of bounds: then an operator has set it.
    """
    changes: dict[str, object] = {}
    if wanted.idle_minutes != _minutes(policy.pause_after_ms):
        _check_idle(wanted.idle_minutes, bounds)
        minutes = wanted.idle_minutes
        changes["pause_after_ms"] = None if minutes is None else minutes * _MINUTE_MS
    if wanted.office_hours != policy.office_hours:
        _check_hours(wanted.office_hours, bounds)
        changes["office_hours"] = wanted.office_hours
    if wanted.heartbeat_minutes != policy.heartbeat_minutes:
        _check_heartbeat(wanted.heartbeat_minutes, bounds)
        changes["heartbeat_minutes"] = wanted.heartbeat_minutes
    return policy.model_copy(update=changes)


def hours_a_week(hours: OfficeHours) -> float:
    begin, end = (_minute_of_day(clock) for clock in (hours.from_, hours.to))
    return len(hours.days) * ((end - begin) % _DAY_MINUTES) / 60


def _check_idle(minutes: int | None, bounds: Bounds) -> None:
    if minutes is not None and minutes > bounds.idle_minutes:
        raise _out_of_bounds(
            f"Choose at most {bounds.idle_minutes} minutes until your agent sleeps."
            if bounds.idle_minutes
            else "The operator of this server sets when agents sleep."
        )


def _check_hours(hours: OfficeHours | None, bounds: Bounds) -> None:
    if hours is not None and hours_a_week(hours) > bounds.awake_hours:
        raise _out_of_bounds(
            f"Your agent may stay awake at most {bounds.awake_hours} hours a week; these are "
            f"{hours_a_week(hours):g}."
            if bounds.awake_hours
            else "On this server agents have no hours in which they stay awake."
        )


def _check_heartbeat(minutes: int | None, bounds: Bounds) -> None:
    if minutes is None:
        return
    if not bounds.heartbeat_minutes:
        raise _out_of_bounds("On this server agents have no heartbeat.")
    if minutes < bounds.heartbeat_minutes:
        raise _out_of_bounds(
            f"Choose at least {bounds.heartbeat_minutes} minutes between two heartbeats."
        )


def _out_of_bounds(detail: str) -> Problem:
    return Problem(422, "times-out-of-bounds", detail)


def _minutes(milliseconds: int | None) -> int | None:
    return None if milliseconds is None else math.ceil(milliseconds / _MINUTE_MS)


def _minute_of_day(clock: str) -> int:
    hours, minutes = clock.split(":")
    return int(hours) * 60 + int(minutes)
