"""The agent server's API on the wire: what management and the command send and read.

JSON in camelCase, as in the specification. Responses may gain fields, never lose them, so readers
ignore what they do not know and senders refuse it.
"""

from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from ocmt_common.user_ids import UserId

AUTH_HEADER = "x-auth-token"


class HibernationState(StrEnum):
    """Where an agent is on the ladder. `paused` and `stopped` wake on any request."""

    PROVISIONING = "provisioning"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"
    WAKING = "waking"
    FAILED = "failed"


class Wire(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore")


class Command(Wire):
    """A request body: an unknown field is a caller's mistake and is refused."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")


class ProvisionRequest(Command):
    """`POST /api/containers`. The same again changes nothing; a new token replaces the old."""

    user_id: UserId
    agent_token: str = Field(min_length=16, max_length=512, pattern=r"^[A-Za-z0-9._~-]+$")
    """The one credential inside the container: good for this user's `/llm` and `/mcp` only."""


class HibernateRequest(Command):
    mode: Literal["pause", "stop"]


class Container(Wire):
    """One agent, as `GET /api/containers` lists it."""

    user_id: str
    hibernation_state: HibernationState
    idle_minutes: int
    """Whole minutes since the user's last activity."""
    last_activity: datetime
    last_activity_kind: str
    """What bumped the clock last: `provision`, `http`, `websocket`, `wake`."""
    state_since: datetime
    awake_because: list[str] = Field(default_factory=list)
    """The gateway's own blockers the last time it refused to be paused; empty when it agreed."""
    failure: str | None = None
    """Why the agent is `failed`, and what to do; `None` otherwise."""


class StateEvent(Wire):
    """One event of `GET /api/events` (server-sent) and of `GET /api/containers/{userId}/events`."""

    user_id: str
    at: datetime
    from_state: HibernationState | None
    to_state: HibernationState
    why: str
    duration_ms: float | None = None
    failure: str | None = None


class HibernationCounts(Wire):
    running: int = 0
    paused: int = 0
    stopped: int = 0
    provisioning: int = 0
    waking: int = 0
    failed: int = 0


class AgentServerHealth(Wire):
    """`GET /health`, open. The first three fields are the specification's contract."""

    status: Literal["ok", "degraded"]
    containers: int
    hibernation: HibernationCounts
    runtime: str
    problems: list[str] = Field(default_factory=list)
    """What is wrong and what to do, a sentence each; empty when `status` is `ok`."""
    version: str = "unknown"
