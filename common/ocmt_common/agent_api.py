"""The agent server's API on the wire, as management and the command use it.

JSON in camelCase. Responses may gain fields but never lose them, so readers ignore unknown fields;
in requests, unknown fields are refused.
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
    """An agent's state. Any request wakes a `paused` or `stopped` agent that is not disabled."""

    PROVISIONING = "provisioning"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"
    WAKING = "waking"
    FAILED = "failed"


class PausedMemory(StrEnum):
    """Where a paused agent's memory is."""

    RESIDENT = "resident"
    """In RAM: the fastest wake, but no memory saved."""
    RECLAIMED = "reclaimed"
    """In swap."""


class Wire(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore")


class Command(Wire):
    """A request body, in which unknown fields are refused."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")


class ProvisionRequest(Command):
    """`POST /api/containers`. Idempotent; a new token replaces the old one."""

    user_id: UserId
    agent_token: str = Field(min_length=16, max_length=512, pattern=r"^[A-Za-z0-9._~-]+$")
    """The agent's only credential, valid only for this user's `/llm` and `/mcp`."""


class HibernateRequest(Command):
    mode: Literal["pause", "stop"]


class ToolsVersionRequest(Command):
    """`PUT /api/containers/{userId}/tools-version`. Idempotent; does not wake the agent."""

    version: int = Field(ge=0, lt=2**53)
    """A version other than the last makes the agent list its tools again."""


class ModelApi(StrEnum):
    """The shape of an agent's requests to its model; the values are OpenClaw's names."""

    CHAT_COMPLETIONS = "openai-completions"
    RESPONSES = "openai-responses"
    MESSAGES = "anthropic-messages"


class AgentModel(Command):
    """`PUT /api/containers/{userId}/model`: what an agent has to know of its user's model.

    May be repeated; wakes no agent. The default is right for every model, without thinking and
    pictures.
    """

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True
    )

    api: ModelApi = ModelApi.CHAT_COMPLETIONS
    name: Annotated[str, Field(max_length=128, pattern=r"^[A-Za-z0-9._:/@+-]*\z")] = ""
    """The provider's name of a model that thinks, by which OpenClaw knows how. It gets into the
    configuration, where `${…}` is replaced."""
    reasoning: bool = False
    images: bool = False


class MemoryFigures(Wire):
    """One agent's memory as last measured, in bytes."""

    usage: int
    """All RAM charged to its container: process memory, page cache and kernel memory."""
    anon: int
    """Its processes' anonymous memory in RAM."""
    cache: int
    swap: int
    """Its memory in swap, uncompressed."""
    compressed: int
    """RAM that its swapped memory takes in zram or zswap; zero with swap on disk only."""


class DiskFigures(Wire):
    """One agent's use of its host's disk, as last measured."""

    bytes: int | None
    """`None` when it has too many files to count in time."""
    files: int | None
    """Number of files, folders and links."""
    limit_bytes: int
    """AGENT_DISK_MB in bytes."""
    limit_files: int


class Container(Wire):
    """One agent, as `GET /api/containers` lists it."""

    user_id: str
    hibernation_state: HibernationState
    idle_minutes: int
    """Minutes since the user's last activity, rounded down."""
    last_activity: datetime
    last_activity_kind: str
    """The kind of the last activity: `provision`, `http`, `websocket`, `wake`."""
    state_since: datetime
    awake_because: list[str] = Field(default_factory=list)
    """Why the last attempt to hibernate the agent failed; empty once one succeeds."""
    because: str = ""
    """A sentence: why it is awake, asleep or failed."""
    next_wake_at: datetime | None = None
    """The next planned wake, for a scheduled job or office hours."""
    failure: str | None = None
    """Why the agent is `failed`, and the cure; `None` otherwise."""
    memory: MemoryFigures | None = None
    """`None` if the agent has no processes that are visible on its host."""
    disabled: bool = False
    """Kept stopped by order until it is enabled."""
    paused_memory: PausedMemory | None = None
    """Where a paused agent's memory is; `None` if it is not paused or not measured yet."""
    disk: DiskFigures | None = None
    """`None` until it is measured."""
    warning: str | None = None
    """A warning to its user, with the remedy, such as that its disk is nearly full."""
    model: AgentModel | None = None
    """What its configuration says of its model; `None` if the agent server is an older one."""
    home: str | None = None
    """The name of its folder, and its container's label; `None` if the agent server is an older
    one. Another name than the user id if the agent was made beforehand."""


class Actor(StrEnum):
    """What caused a change of state."""

    USER = "user"
    """A request or message of the user."""
    JOB = "job"
    """A job in the agent's own schedule."""
    OPERATOR = "operator"
    """An operator's order: hibernate, restart, a new token, stopping the server."""
    POLICY = "policy"
    """The clock: idle time, time paused, office hours."""
    PRESSURE = "pressure"
    """A shortage of memory: another agent's wake needed it, or swap is short."""
    RUNTIME = "runtime"
    """Drift found by a reconcile: a crash, a kill, a command outside of OCMT."""


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
HeartbeatMinutes = Annotated[int, Field(ge=5, le=1440)]


class OfficeHours(Command):
    """Daily hours; with `from` later than `to` they end on the next day."""

    time_zone: str
    """An IANA name, such as `Europe/Berlin`."""
    days: list[Weekday] = Field(min_length=1, max_length=7)
    """The days on which they begin."""
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
            raise ValueError("from and to must differ; to stay awake always, use neverSleep")
        return self


class AgentPolicy(Command):
    """`GET|PUT /api/containers/{userId}/policy`; `None` means the server's setting."""

    pause_after_ms: PolicyMs | None = None
    """Idle time after which the agent is paused."""
    stop_after_ms: PolicyMs | None = None
    """Time asleep after which it is stopped."""
    never_sleep: bool = False
    """Stay awake regardless of idle time and the host's memory; only orders hibernate it."""
    office_hours: OfficeHours | None = None
    """Wake when these hours begin and stay awake during them; outside, sleep as usual."""
    max_awake_ms: PolicyMs | None = None
    """Longest time awake in a row; then it sleeps as soon as it has no work in progress."""
    heartbeat_minutes: HeartbeatMinutes | None = None
    """How often it takes a turn by itself, for which it is woken; `None`: never."""

    @model_validator(mode="after")
    def _not_both(self) -> Self:
        if self.never_sleep and self.max_awake_ms is not None:
            raise ValueError("neverSleep and maxAwakeMs contradict each other; set one of them")
        return self


class JobKind(StrEnum):
    """What a scheduled job does."""

    TURN = "turn"
    """A turn of the agent's, with a message as its task."""
    EVENT = "event"
    """A note for the agent's next turn."""
    PROGRAM = "program"
    """A command or a script."""
    HEARTBEAT = "heartbeat"


class Job(Wire):
    """A scheduled job of an agent, as its gateway lists it. Its texts are the agent's."""

    id: str
    name: str
    kind: JobKind
    task: str
    """The message, note or command; shortened, and empty for a heartbeat."""
    enabled: bool
    editable: bool
    """False for the jobs that OpenClaw keeps by itself."""
    cron: str | None = None
    """A cron expression; else `every_ms` or `at` is set, or none of the three for a trigger."""
    time_zone: str | None = None
    every_ms: int | None = None
    at: str | None = None
    running: bool = False
    next_run_at: datetime | None = None
    last_run_at: datetime | None = None
    last_status: str | None = None
    """`ok`, `error` or `skipped`."""
    last_error: str | None = None


class Jobs(Wire):
    """`GET /api/containers/{userId}/jobs`."""

    jobs: list[Job]


class JobChange(Command):
    """`PATCH /api/containers/{userId}/jobs/{jobId}`."""

    enabled: bool


JobId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_:@-]{0,127}$")]


class FileKind(StrEnum):
    FILE = "file"
    FOLDER = "folder"
    OTHER = "other"
    """A link, or a name that cannot be sent back; it cannot be opened."""


class FileEntry(Wire):
    """One entry of a folder in an agent's workspace. The name is the agent's."""

    name: str
    kind: FileKind
    size: int | None = None
    """Bytes of a file."""
    changed_at: datetime | None = None


class FileListing(Wire):
    """`GET /api/containers/{userId}/files`: folders first, then by name."""

    entries: list[FileEntry]
    more: bool
    """Whether the folder has more entries than these."""


class StateEvent(Wire):
    """One event of `GET /api/events` (server-sent) and of `GET /api/containers/{userId}/events`."""

    user_id: str
    at: datetime
    from_state: HibernationState | None
    to_state: HibernationState
    who: Actor | None = None
    """`None` in events stored before this field existed."""
    why: str
    duration_ms: float | None = None
    memory_before_bytes: int | None = None
    """The agent's memory in RAM when the change began, if known."""
    memory_after_bytes: int | None = None
    failure: str | None = None
    warning: str | None = None
    """The container's `warning` after the change."""
    id: int | None = None
    """The event's number in the stored history, ascending; `None` in the live stream."""


class EventHistory(Wire):
    """`GET /api/containers/{userId}/events`: a page of events, and the current state's reason."""

    events: list[StateEvent]
    """Oldest first."""
    earlier: int | None = None
    """The value of `before` for the page of earlier events; `None` if there are none."""
    because: str
    """A sentence: why the agent is awake, asleep or failed."""
    next_wake_at: datetime | None = None
    """The next planned wake."""
    next_wake_for: str | None = None
    """The reason for that wake: a scheduled job, or office hours."""


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
    """RAM that zram uses for its compressed content."""
    zswap_ram: int
    pressure_some: float | None = None
    pressure_full: float | None = None


class MemoryHealth(Wire):
    """The mechanisms that save memory on this host; all are optional."""

    reclaim: str | None
    """The driver that reclaims paused agents' memory; `None` if this host has none."""
    swap_disk: bool
    zram: bool
    zswap: bool
    prefetch: bool
    psi: bool
    stop_after_ms: int | None = None
    """Time asleep after which an agent is stopped; `None`: only when swap gets short."""
    swap_reserve: int | None = None
    """Bytes of free swap below which agents are stopped, longest idle first; `None`: by time."""
    host: HostFigures
    advice: list[str] = Field(default_factory=list)
    """How to save more memory, a sentence each. These are not problems."""


class SparesHealth(Wire):
    """Agents that are made beforehand for new users."""

    ready: int
    wanted: int
    why: str
    """Why not more are wanted."""
    held: "HeldSparesHealth | None" = None


class HeldSparesHealth(Wire):
    """Spares for stopped agents; the same fields."""

    ready: int
    wanted: int
    why: str


class TlsHealth(Wire):
    """An agent server's TLS certificate and tokens, which `ocmt renew` checks."""

    certificate_ends_at: datetime
    tokens: list[str]
    """Ids (`token_id`) of the tokens it accepts."""
    token_in_use: str | None
    """The id of the token that was last accepted."""


class AgentServerHealth(Wire):
    """`GET /health`, which needs no token. The specification requires the first three fields."""

    status: Literal["ok", "degraded"]
    containers: int
    hibernation: HibernationCounts
    runtime: str
    problems: list[str] = Field(default_factory=list)
    """What is wrong and the cure, a sentence each; empty if `status` is `ok`."""
    version: str = "unknown"
    memory: MemoryHealth | None = None
    spares: SparesHealth | None = None
    tls: TlsHealth | None = None
    """`None` when management is on the same host."""


class HostSample(Wire):
    """The host's memory at one time, in bytes, and its agents by state."""

    at: datetime
    total: int
    available: int
    swap: int
    swap_free: int
    agents: HibernationCounts


class WakeSample(Wire):
    user_id: str
    at: datetime
    from_state: HibernationState | None
    """The state before `waking`; `None` if it is not known."""
    who: Actor | None
    duration_ms: float


class RefusedWake(Wire):
    user_id: str
    at: datetime
    why: str
    """`memory`: none was free; `queue`: too many wakes waited."""


class HostDay(Wire):
    """`GET /api/host`: the last 24 hours of the host, each list oldest first."""

    samples: list[HostSample]
    wakes: list[WakeSample]
    refused: list[RefusedWake]


PackageName = Annotated[
    str, Field(max_length=214, pattern=r"^(@[a-z0-9][a-z0-9._~-]*/)?[a-z0-9][a-z0-9._~-]*$")
]
"""A package of npm's registry, never a folder, an address or a range."""
PackageVersion = Annotated[
    str,
    Field(
        max_length=128,
        pattern=r"^(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*)){2}(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$",
    ),
]
"""One version, such as `2026.8.31`, never a range or a tag."""
PackageIntegrity = Annotated[str, Field(pattern=r"^sha512-[A-Za-z0-9+/]{86}==$")]
"""The hash of the package's archive, as npm shows it (`dist.integrity`)."""
ToolArgument = Annotated[str, Field(max_length=1024, pattern=r"^[^\x00-\x1f\x7f]*$")]
VariableName = Annotated[str, Field(max_length=128, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
VariableValue = Annotated[str, Field(max_length=8192, pattern=r"^[^\x00]*$")]
_CONTAINERS_OWN = frozenset({"HOME", "PATH", "NODE_OPTIONS"})


class ToolServerDefinition(Command):
    """`PUT /api/containers/{userId}/tool-servers/{serverId}`: one user's tool server over stdio."""

    package: PackageName
    version: PackageVersion
    integrity: PackageIntegrity
    arguments: list[ToolArgument] = Field(default_factory=list, max_length=64)
    environment: dict[VariableName, VariableValue] = Field(
        default_factory=dict, max_length=32, repr=False
    )
    """Has the user's credential, so it is only in memory and the container, and in no response."""

    @field_validator("environment")
    @classmethod
    def _not_the_container_s(cls, environment: dict[str, str]) -> dict[str, str]:
        own = [name for name in environment if name in _CONTAINERS_OWN or name.startswith("LD_")]
        if own:
            raise ValueError(f"the container sets {', '.join(sorted(own))} itself; leave it out")
        return environment


class ToolServerState(StrEnum):
    STOPPED = "stopped"
    """Not running; the next call starts it."""
    INSTALLING = "installing"
    STARTING = "starting"
    RUNNING = "running"
    FAILED = "failed"
    """Could not be installed or started, or ended by itself; a later call retries."""


class ToolServer(Wire):
    """`GET /api/containers/{userId}/tool-servers/{serverId}`."""

    server_id: str
    package: str
    version: str
    state: ToolServerState
    reason: str | None = None
    """Why it is `failed`, and the cure."""
    last_output: list[str] = Field(default_factory=list)
    """The last lines of its standard error, without its credential. The text is the package's."""
    running_since: datetime | None = None
