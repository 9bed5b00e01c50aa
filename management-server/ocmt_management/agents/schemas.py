"""An agent as its user and admins see it."""

from datetime import datetime
from enum import StrEnum

from ocmt_common.agent_api import (
    Command,
    DiskFigures,
    HeartbeatMinutes,
    MemoryFigures,
    OfficeHours,
    StateEvent,
    Wire,
)
from pydantic import Field


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


class TimesBounds(Wire):
    """What the operator of the server allows; 0: not the user's to set."""

    idle_minutes_max: int
    awake_hours_max: int
    """Office hours a week."""
    heartbeat_minutes_min: int


class OwnTimes(Command):
    """`PUT /api/agent/times`: all of them; `None` means the server's setting, or none."""

    idle_minutes: int | None = Field(ge=1, le=525_600)
    """Minutes without use until the agent is paused."""
    office_hours: OfficeHours | None
    """Hours in which it stays awake."""
    heartbeat_minutes: HeartbeatMinutes | None
    """How often it takes a turn by itself, for which it is woken."""


class TimesView(Wire):
    idle_minutes: int | None
    office_hours: OfficeHours | None
    heartbeat_minutes: int | None
    never_sleeps: bool
    """By the operator's order."""
    bounds: TimesBounds


class AgentPanelView(AgentView):
    """`GET /api/agent/panel`: the agent's state with its reasons. Reading it wakes nothing."""

    awake_because: list[str]
    last_activity: datetime | None
    next_wake_at: datetime | None
    next_wake_for: str | None
    memory: MemoryFigures | None
    disk: DiskFigures | None
    events: list[StateEvent]
    """The latest changes of its state, oldest first."""
    times: TimesView | None
    """`None` while there is no agent, or its server does not answer."""


class LogView(Wire):
    text: str
    """The last lines that the agent's gateway wrote, without its tokens."""


class AgentRow(AgentView):
    """What an admin sees; the figures are missing while the agent server does not answer."""

    user_id: str
    idle_minutes: int | None = None
    awake_because: list[str]
    last_activity: datetime | None = None
    next_wake_at: datetime | None = None
    memory: MemoryFigures | None = None
    disk: DiskFigures | None = None
