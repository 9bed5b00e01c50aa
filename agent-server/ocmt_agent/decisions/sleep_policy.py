"""Decides when to pause, stop, or wake an agent without a request. Pure.

An idle agent is only a candidate: its gateway decides whether it may be frozen
(`hibernation/suspend.py`). A wake for a job does not count as activity, and after the job the agent
returns to the state in which it slept before.
"""

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from ocmt_common.agent_api import HibernationState

from ocmt_agent.decisions.office_hours import Hours

COLD_LEAD = timedelta(seconds=30)
"""Default lead time of a stopped agent; a gateway boots in 7-11 s on two cores."""
THAW_LEAD = timedelta(seconds=5)
"""Default lead time of a paused agent; a thaw takes well under a second."""
_DRIFT = timedelta(seconds=5)
JOB_GRACE = timedelta(seconds=15)
"""How late a job may begin; until then its agent is not put to sleep."""


_ASLEEP = (HibernationState.PAUSED, HibernationState.STOPPED)


class Action(StrEnum):
    NOTHING = "nothing"
    PAUSE = "pause"
    STOP = "stop"
    WAKE = "wake"


@dataclass(frozen=True, slots=True)
class Times:
    pause_after: timedelta
    stop_after: timedelta
    check_interval: timedelta
    stop_by_need: bool = False
    """Whether an agent asleep in swap is stopped only when swap gets short (`swap_reserve`)."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """One user's policy; `None` means the server's `Times`."""

    pause_after: timedelta | None = None
    stop_after: timedelta | None = None
    never_sleep: bool = False
    office_hours: Hours | None = None
    max_awake: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Situation:
    state: HibernationState
    idle: timedelta
    """Time since the user's last activity."""
    in_state: timedelta
    in_flight: int
    """Requests being served now."""
    until_job: timedelta | None
    """Time until the agent's next scheduled job as last read; negative when overdue."""
    lead: timedelta | None = None
    """The lead time; `None` for the default of its state."""
    asleep: timedelta | None = None
    """Time since it first slept after the user's last activity, including wakes for jobs; `None`
    means `in_state`."""
    woken_for_job: bool = False
    """It was woken for that job, and stays awake until the job begins."""
    slept_stopped: bool = False
    """It was stopped when it was woken for its job, and is stopped again after it."""
    office_for: timedelta | None = None
    """Time since its office hours began; `None` outside office hours."""
    ordered: bool = False
    """An operator caused its state."""
    asleep_in_swap: bool = False
    """It is paused, and its memory is in swap on disk."""
    wishes: Wishes = field(default_factory=Wishes)


class WakeReason(StrEnum):
    """Why an agent is woken without a request."""

    JOB = "scheduled job"
    OFFICE = "office hours"
    NEVER_SLEEPS = "it never sleeps"


class SleepReason(StrEnum):
    """Why an awake agent is put to sleep without an order."""

    IDLE = "idle"
    AFTER_JOB = "its job is done"
    MAX_AWAKE = "awake for as long as its policy allows"


def decide(situation: Situation, times: Times) -> Action:
    """The action to try for one agent now."""
    if wake_reason(situation, times) is not None:
        return Action.WAKE
    match situation.state:
        case HibernationState.RUNNING if sleep_reason(situation, times) is not None:
            return Action.STOP if situation.slept_stopped else Action.PAUSE
        case HibernationState.PAUSED if _asleep_too_long(situation, times):
            return Action.STOP
        case _:
            return Action.NOTHING


def wake_reason(situation: Situation, times: Times) -> WakeReason | None:
    """Why an agent that does not run should be woken now; `None` if it should not.

    After a failed wake, jobs and `never_sleep` are tried again; the caller limits how often.
    """
    state, wishes = situation.state, situation.wishes
    if state not in (*_ASLEEP, HibernationState.FAILED):
        return None
    if _due(situation.until_job, situation.lead or default_lead(state), times):
        return WakeReason.JOB
    if situation.ordered:
        return None
    if wishes.never_sleep:
        return WakeReason.NEVER_SLEEPS
    # Only when office hours begin; an agent paused during them stays paused until used.
    began = situation.office_for
    if state in _ASLEEP and began is not None and situation.in_state > began:
        return WakeReason.OFFICE
    return None


def clock_jump(wall: timedelta, monotonic_s: float) -> timedelta | None:
    """By how much the wall clock jumped between two readings, if more than drift explains.

    A suspended host counts as a jump: its agents were suspended, too, so no idle time passed.
    """
    off = wall - timedelta(seconds=monotonic_s)
    return off if abs(off) > _DRIFT else None


def default_lead(state: HibernationState) -> timedelta:
    """How long before its job an agent is woken, until enough wakes were measured on this host."""
    return THAW_LEAD if state is HibernationState.PAUSED else COLD_LEAD


def worth_sleeping(
    until_job: timedelta | None, times: Times, *, cold_lead: timedelta = COLD_LEAD
) -> bool:
    """Whether a sleep would last until the next sweep; a shorter one costs more than it saves."""
    return not _due(until_job, cold_lead + times.check_interval, times)


def sleep_reason(situation: Situation, times: Times) -> SleepReason | None:
    """Why an awake agent may be put to sleep now; `None` if it may not."""
    wishes = situation.wishes
    if situation.in_flight or _waits_for_job(situation, times) or wishes.never_sleep:
        return None
    if wishes.max_awake is not None and situation.in_state >= wishes.max_awake:
        return SleepReason.MAX_AWAKE
    idle = situation.idle >= (wishes.pause_after or times.pause_after)
    if situation.office_for is not None or not idle:
        return None
    return SleepReason.AFTER_JOB if situation.woken_for_job else SleepReason.IDLE


def _asleep_too_long(situation: Situation, times: Times) -> bool:
    wished = situation.wishes.stop_after
    if wished is None and times.stop_by_need and situation.asleep_in_swap:
        return False
    asleep = situation.in_state if situation.asleep is None else situation.asleep
    return asleep >= (wished or times.stop_after)


def _due(until_job: timedelta | None, lead: timedelta, times: Times) -> bool:
    # One interval early, since the next sweep would be too late.
    return until_job is not None and until_job <= lead + times.check_interval


def _waits_for_job(situation: Situation, times: Times) -> bool:
    # The job's time was read before the sleep. After it and its grace, the gateway's blockers show
    # whether the job is still running.
    until_job = situation.until_job
    if until_job is None or until_job <= -JOB_GRACE:
        return False
    return situation.woken_for_job or not worth_sleeping(until_job, times)
