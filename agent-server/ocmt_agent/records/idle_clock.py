"""An agent's idle clock: the time since its user's last activity.

Requests to the agent, frames from its user and the end of the answer to a message restart it. Wakes
for jobs, reads of the status and the gateway's other frames do not. `decisions/sleep_policy.py`
compares it with the idle times after which an agent is put to sleep.
"""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from ocmt_agent.decisions.activity import ActivityKind

if TYPE_CHECKING:
    from ocmt_agent.records.agent import Agent


def restart(agent: "Agent", kind: ActivityKind, *, now: datetime) -> None:
    """Record the user's activity, and reset what depends on it: sleeps and scheduled wakes."""
    agent.last_activity_at = now
    agent.last_activity_kind = kind
    agent.activities += 1
    agent.asleep_since = None
    agent.rests_as = None
    agent.self_wakes, agent.wake_again_at = 0, 0.0
    agent.unsaved = True


def idle_time(agent: "Agent", *, now: datetime) -> timedelta:
    """Time since the user's last activity; never negative."""
    return max(now - agent.last_activity_at, timedelta())


def shift(agent: "Agent", by: timedelta) -> None:
    """Shift the times from which durations count by a jump of the wall clock."""
    agent.last_activity_at += by
    agent.state_since += by
    if agent.asleep_since is not None:
        agent.asleep_since += by
    agent.unsaved = True
