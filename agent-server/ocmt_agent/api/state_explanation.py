"""An agent's state in words: why it is awake, asleep or failed now."""

from datetime import datetime

from ocmt_common.agent_api import Actor, HibernationState

from ocmt_agent.records.agent import Agent
from ocmt_agent.records.idle_clock import idle_time

_BY = {
    Actor.USER: "the user",
    Actor.JOB: "the agent's schedule",
    Actor.OPERATOR: "an operator",
    Actor.POLICY: "the policy",
    Actor.PRESSURE: "a shortage of memory",
    Actor.RUNTIME: "what the runtime showed",
}
_BECAME = {
    HibernationState.PROVISIONING: "being made",
    HibernationState.RUNNING: "awake",
    HibernationState.PAUSED: "paused",
    HibernationState.STOPPED: "stopped",
    HibernationState.WAKING: "being woken",
    HibernationState.FAILED: "failed",
}


def because(agent: Agent, *, now: datetime) -> str:
    """Explain the agent's current state for people; programs read the events."""
    since = _span_text((now - agent.state_since).total_seconds())
    text = f"{_BECAME[agent.state].capitalize()} for {since}"
    if agent.state_why:
        by = f" ({_BY[agent.state_who]})" if agent.state_who else ""
        text += f" because: {agent.state_why}{by}"
    if agent.state is HibernationState.RUNNING:
        text += "; " + _kept_awake(agent, now=now)
    if agent.disabled:
        text += "; disabled: nothing wakes it"
    if agent.failure:
        text += f". {agent.failure.rstrip('.')}"
    if agent.warning:
        text += f". {agent.warning.rstrip('.')}"
    return text + "."


def _kept_awake(agent: Agent, *, now: datetime) -> str:
    if agent.in_flight:
        return f"{agent.in_flight} request(s) are being served"
    if agent.blockers:
        return "kept awake by: " + "; ".join(agent.blockers)
    idle = _span_text(idle_time(agent, now=now).total_seconds())
    return f"last used {idle} ago ({agent.last_activity_kind})"


def _span_text(seconds: float) -> str:
    """A duration in the largest unit that fits: `45 s`, `12 min`, `3 h`, `2 d`."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{max(0, int(seconds))} s"
