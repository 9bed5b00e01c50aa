"""An agent as its user and admins see it."""

from datetime import datetime
from enum import StrEnum

from ocmt_common.agent_api import Wire


class AgentState(StrEnum):
    NONE = "none"
    PROVISIONING = "provisioning"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"
    WAKING = "waking"
    FAILED = "failed"
    UNREACHABLE = "unreachable"
    """The agent server does not answer, so the state is unknown."""


class AgentView(Wire):
    state: AgentState
    detail: str | None
    """What is wrong and what to do, or why provisioning waits; `None` when all is well."""
    since: datetime | None
    warning: str | None = None
    """What the user should do soon although nothing failed, such as for a nearly full disk."""


class AgentRow(AgentView):
    user_id: str
    idle_minutes: int | None
    awake_because: list[str]
