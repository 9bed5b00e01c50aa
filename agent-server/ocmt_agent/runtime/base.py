"""The one interface between OCMT and whatever runs the gateways.

A runtime knows containers and processes; it knows nothing of idleness, users' sessions or HTTP.
Every call is safe to repeat: asking for what is already so is not an error.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from ocmt_agent.runtime.processes import ProcessId


class ContainerStatus(StrEnum):
    """What the engine says, read afresh; never what we remember."""

    RUNNING = "running"
    PAUSED = "paused"
    EXITED = "exited"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a running gateway listens, reachable from the agent server only."""

    host: str
    port: int

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class AgentSpec:
    """All a runtime needs to make a user's container. Secrets are kept out of `repr`."""

    user_id: str
    gateway_token: "SecretText"
    agent_token: "SecretText"
    number: int
    """The agent's own among all that this host has or had; 1 and up."""


class SecretText(str):
    """A string whose `repr` shows nothing, so that it survives a careless log line."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "SecretText('•••')"


@dataclass(frozen=True, slots=True)
class Observed:
    """One container as the engine shows it now."""

    user_id: str
    status: ContainerStatus
    endpoint: Endpoint | None
    """Set while the container has an address (running or paused)."""
    exit_code: int | None = None
    oom_killed: bool = False


@dataclass(frozen=True, slots=True)
class RuntimeEvent:
    """A change the engine reported by itself: `start`, `die`, `pause`, `unpause`, `remove`."""

    user_id: str
    kind: str


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where the kernel holds a running or paused agent, as far as this host can see it."""

    leader: ProcessId
    """Its first process: another one means that the agent was started anew."""
    memory: Path | None
    """The folder of its control group for memory (v2, or v1's memory controller)."""
    pids: Callable[[], list[int]]
    """Every process of it, read afresh at each call."""


class RuntimeUnavailable(Exception):
    """The engine (or what it needs) does not answer; `str()` says what to do about it."""


class RuntimeFailed(Exception):
    """The engine answered, but could not do it; `str()` says why and what to do about it."""


class Runtime(Protocol):
    """A driver. Names in its methods are user ids; how it names its own things is its business.

    Every method raises `RuntimeUnavailable` or `RuntimeFailed`; `unpause`, `pause`, `start` and
    `stop` of a user without a container raise `RuntimeFailed`.
    """

    name: str

    async def problems(self) -> list[str]:
        """What keeps it from working now (engine gone, image missing), a sentence each."""
        ...

    async def relay_host(self) -> str:
        """The address of this host at which agents reach the relay, and nobody else should."""
        ...

    def home(self, user_id: str) -> Path:
        """The folder that has everything of the agent's."""
        ...

    def uid(self, number: int) -> int | None:
        """The uid of all files of the agent with that number; `None` where others have it too."""
        ...

    async def openclaw_version(self) -> str:
        """The OpenClaw that a container made now would run, such as `2026.9.6`."""
        ...

    async def create(self, spec: AgentSpec) -> None:
        """Make the user's container, stopped, unless one with the same settings exists.

        One with other settings (another image, limits, tokens) is replaced; its state folder stays.
        A failure leaves nothing half made behind.
        """
        ...

    async def start(self, user_id: str) -> Endpoint:
        """Start the container and say where it listens. Does not wait for the gateway."""
        ...

    async def pause(self, user_id: str) -> None: ...

    async def unpause(self, user_id: str) -> None: ...

    async def stop(self, user_id: str, *, grace_s: float) -> None:
        """End it: ask, wait up to `grace_s` seconds, then kill. Thaws a paused one first."""
        ...

    async def remove(self, user_id: str, *, with_state: bool) -> None:
        """Remove the container and, if asked, the user's state folder for good."""
        ...

    async def inspect(self, user_id: str) -> Observed | None: ...

    async def observe_all(self) -> dict[str, Observed]:
        """Every container of ours, found by its labels, in one call to the engine."""
        ...

    async def cpu_seconds(self, user_id: str) -> float | None:
        """CPU time the container has used since it started; `None` when it cannot be read."""
        ...

    async def whereabouts(self, user_id: str) -> Whereabouts | None:
        """Where the kernel holds it; `None` when it does not run or is out of our sight.

        Cheap once known (no call to the engine): one look at procfs confirms it.
        """
        ...

    async def logs(self, user_id: str, *, lines: int, this_start: bool = False) -> str:
        """The last `lines` lines the gateway printed; `this_start`: since it started last."""
        ...

    def events(self) -> AsyncIterator[RuntimeEvent]:
        """The engine's own reports, until it goes away (then `RuntimeUnavailable`)."""
        ...

    async def close(self) -> None: ...
