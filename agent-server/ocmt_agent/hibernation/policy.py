"""When an agent should sleep, sleep deeper or be woken by itself: a function of facts and times.

Traffic only nominates here. Whether a nominated agent may really be frozen, its gateway decides
(see `sleeper`). A wake for a scheduled job is the machine's, not the user's: it never counts as
activity.
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from ocmt_common.agent_api import HibernationState

COLD_LEAD = timedelta(seconds=30)
"""How long before a job a stopped agent is woken: a gateway boots in 7-11 s on two cores."""
THAW_LEAD = timedelta(seconds=5)
"""The same for a paused one: a thaw takes well under a second."""
JOB_GRACE = timedelta(seconds=15)
"""How long after its time a job may take to begin; until then its agent is not put to sleep."""


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


@dataclass(frozen=True, slots=True)
class Situation:
    state: HibernationState
    idle: timedelta
    """Since the user's last activity."""
    in_state: timedelta
    in_flight: int
    """Requests being served right now."""
    until_job: timedelta | None
    """Until the agent's next scheduled job, as read before it slept; negative when overdue."""


def decide(situation: Situation, times: Times) -> Action:
    """What the sweep should try for one agent now."""
    match situation.state:
        case HibernationState.RUNNING:
            idle = situation.in_flight == 0 and situation.idle >= times.pause_after
            return Action.PAUSE if idle and not _waits_for_job(situation) else Action.NOTHING
        case HibernationState.PAUSED:
            if _due(situation.until_job, THAW_LEAD, times):
                return Action.WAKE
            return Action.STOP if situation.in_state >= times.stop_after else Action.NOTHING
        case HibernationState.STOPPED:
            return Action.WAKE if _due(situation.until_job, COLD_LEAD, times) else Action.NOTHING
        case _:
            return Action.NOTHING


def worth_sleeping(until_job: timedelta | None, times: Times) -> bool:
    """Whether a sleep would outlast the next sweep: otherwise it costs more than it saves."""
    return not _due(until_job, COLD_LEAD + times.check_interval, times)


def _due(until_job: timedelta | None, lead: timedelta, times: Times) -> bool:
    # One interval early, because there is no look in between.
    return until_job is not None and until_job <= lead + times.check_interval


def _waits_for_job(situation: Situation) -> bool:
    # What was read before the sleep: once the job's time and its grace are over, the gateway's own
    # blockers tell whether it still runs.
    return situation.until_job is not None and situation.until_job > -JOB_GRACE
