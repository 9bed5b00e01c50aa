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


class PausedMemory(StrEnum):
    """Where a paused agent's memory is."""

    RESIDENT = "resident"
    """In RAM: the fastest wake, and nothing saved."""
    RECLAIMED = "reclaimed"
    """In swap."""


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


class MemoryFigures(Wire):
    """One agent's memory as last measured, in bytes."""

    usage: int
    """All RAM its container is charged with: its own memory, page cache, the kernel's part."""
    anon: int
    """Its processes' own memory in RAM."""
    cache: int
    swap: int
    """What left RAM for swap, uncompressed."""
    compressed: int
    """What that still takes of RAM in zram or zswap; zero with swap on disk alone."""


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
    memory: MemoryFigures | None = None
    """`None` while it does not run, or where this server cannot see its processes."""
    paused_memory: PausedMemory | None = None
    """Where a paused agent's memory is; `None` while it is not paused or was not measured yet."""


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


class HostFigures(Wire):
    """The host's memory now, in bytes; pressure in percent of the last 10 seconds (PSI)."""

    total: int
    available: int
    swap_disk: int
    swap_disk_free: int
    swap_zram: int
    swap_zram_free: int
    zram_ram: int
    """RAM that zram's content takes, compressed."""
    zswap_ram: int
    pressure_some: float | None = None
    pressure_full: float | None = None


class MemoryHealth(Wire):
    """Which of the means to save memory are on here; every one is optional."""

    reclaim: str | None
    """How the memory of paused agents is taken out of RAM; `None`: it cannot be, here."""
    swap_disk: bool
    zram: bool
    zswap: bool
    prefetch: bool
    psi: bool
    host: HostFigures
    advice: list[str] = Field(default_factory=list)
    """What would save more, and how, a sentence each. Not problems: all works without."""


class AgentServerHealth(Wire):
    """`GET /health`, open. The first three fields are the specification's contract."""

    status: Literal["ok", "degraded"]
    containers: int
    hibernation: HibernationCounts
    runtime: str
    problems: list[str] = Field(default_factory=list)
    """What is wrong and what to do, a sentence each; empty when `status` is `ok`."""
    version: str = "unknown"
    memory: MemoryHealth | None = None
