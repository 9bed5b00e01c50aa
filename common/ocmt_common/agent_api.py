"""The agent server's API on the wire: what management and the command send and read.

JSON in camelCase, as in the specification. Responses may gain fields, never lose them, so readers
ignore what they do not know and senders refuse it.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
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


class DiskFigures(Wire):
    """What one agent takes of its host's disk, as last measured."""

    bytes: int | None
    """`None`: it has more files than can be counted in time."""
    files: int | None
    """Files, folders and links."""
    limit_bytes: int
    """AGENT_DISK_MB."""
    limit_files: int


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
    because: str = ""
    """A sentence for people: why it is awake, asleep or failed now."""
    next_wake_at: datetime | None = None
    """When it will be woken by itself, as planned now: for a scheduled job, or office hours."""
    failure: str | None = None
    """Why the agent is `failed`, and what to do; `None` otherwise."""
    memory: MemoryFigures | None = None
    """`None` while it does not run, or where this server cannot see its processes."""
    disabled: bool = False
    """Kept stopped by order: nothing wakes it until it is enabled."""
    paused_memory: PausedMemory | None = None
    """Where a paused agent's memory is; `None` while it is not paused or was not measured yet."""
    disk: DiskFigures | None = None
    """`None` until it was measured."""
    warning: str | None = None
    """What its user should know and do though nothing failed yet: its disk is nearly full."""


class Actor(StrEnum):
    """Who changed an agent's state."""

    USER = "user"
    """A request or a message of the user's."""
    JOB = "job"
    """A job in the agent's own schedule."""
    OPERATOR = "operator"
    """An order: hibernate, restart, a new token, the server's own end."""
    POLICY = "policy"
    """The clock: idle for long, paused for long, office hours."""
    PRESSURE = "pressure"
    """The host ran short of memory for another agent's wake."""
    RUNTIME = "runtime"
    """It was found so: a crash, a kill, somebody else's command."""


class Weekday(StrEnum):
    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"


ClockTime = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
"""`HH:MM`, 24 hours."""
PolicyMs = Annotated[int, Field(ge=1000, le=31_536_000_000)]
"""Milliseconds from a second to a year."""


class OfficeHours(Command):
    """When somebody works: `from` later than `to` goes over midnight, into the day after."""

    time_zone: str
    """An IANA name, such as `Europe/Berlin`."""
    days: list[Weekday] = Field(min_length=1, max_length=7)
    """On which days they begin."""
    from_: ClockTime = Field(alias="from")
    to: ClockTime

    @field_validator("time_zone")
    @classmethod
    def _known(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError("use a time zone's IANA name, such as Europe/Berlin") from error
        return name

    @field_validator("days")
    @classmethod
    def _once_each(cls, days: list[Weekday]) -> list[Weekday]:
        if len(set(days)) != len(days):
            raise ValueError("name each day once")
        return days

    @model_validator(mode="after")
    def _some_time(self) -> Self:
        if self.from_ == self.to:
            raise ValueError("from and to must differ; for always, use neverSleep")
        return self


class AgentPolicy(Command):
    """`GET|PUT /api/containers/{userId}/policy`: one user's own; `None` is the server's setting."""

    pause_after_ms: PolicyMs | None = None
    """Idle time after which the agent is paused."""
    stop_after_ms: PolicyMs | None = None
    """Time asleep after which it is stopped."""
    never_sleep: bool = False
    """Stay awake, whatever the clock and the host's memory say; only an operator's order counts."""
    office_hours: OfficeHours | None = None
    """Be awake in these hours; outside of them sleep as usual."""
    max_awake_ms: PolicyMs | None = None
    """Longest time awake in a row: then sleep once nothing is under way, though used just now."""

    @model_validator(mode="after")
    def _not_both(self) -> Self:
        if self.never_sleep and self.max_awake_ms is not None:
            raise ValueError("neverSleep and maxAwakeMs contradict each other; set one of them")
        return self


class StateEvent(Wire):
    """One event of `GET /api/events` (server-sent) and of `GET /api/containers/{userId}/events`."""

    user_id: str
    at: datetime
    from_state: HibernationState | None
    to_state: HibernationState
    who: Actor | None = None
    """`None` in what was kept before this was told."""
    why: str
    duration_ms: float | None = None
    memory_before_bytes: int | None = None
    """What the agent held in RAM when the change began, where it is known."""
    memory_after_bytes: int | None = None
    failure: str | None = None
    warning: str | None = None
    """As of the container, after the change."""
    id: int | None = None
    """Its place among the kept events, rising; `None` in one told as it happens."""


class EventHistory(Wire):
    """`GET /api/containers/{userId}/events`: a page of what happened, and why it is as it is."""

    events: list[StateEvent]
    """Oldest first."""
    earlier: int | None = None
    """`before=` of the page before this one; `None` when this is the first."""
    because: str
    """A sentence: why the agent is awake, asleep or failed now."""
    next_wake_at: datetime | None = None
    """When it will be woken by itself, as planned now."""
    next_wake_for: str | None = None
    """What for: a scheduled job, or its office hours."""


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


class TlsHealth(Wire):
    """What an agent server shows to management on another host; for `ocmt renew`."""

    certificate_ends_at: datetime
    tokens: list[str]
    """Ids (`token_id`) of the tokens it accepts."""
    token_in_use: str | None
    """The id of the one that was last accepted."""


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
    tls: TlsHealth | None = None
    """`None` when management is on the same host."""
