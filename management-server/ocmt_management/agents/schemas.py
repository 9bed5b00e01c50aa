"""What is said of an agent on the wire, to its user and to an admin."""

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
    """The agent server does not answer, so nothing is known."""


class AgentView(Wire):
    state: AgentState
    detail: str | None
    """What is wrong and what to do, or why it takes longer; `None` when all is well."""
    since: datetime | None
    warning: str | None = None
    """What its user should soon do though nothing failed: its disk is nearly full."""


class AgentRow(AgentView):
    user_id: str
    idle_minutes: int | None
    awake_because: list[str]


class AgentsAnswer(Wire):
    agents: list[AgentRow]
