"""The interface of runtimes, which run the gateways.

A runtime deals with containers and processes, not with idle times, users' sessions or HTTP. Every
call may be repeated: a state that is already reached is not an error.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from ocmt_agent.runtime.processes import ProcessId


class ContainerStatus(StrEnum):
    """A container's status as the runtime reports it, never from a cache."""

    RUNNING = "running"
    PAUSED = "paused"
    EXITED = "exited"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The address of a running gateway, reachable only from the agent server."""

    host: str
    port: int

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class AgentSpec:
    """Everything needed to create a user's container. Secrets are left out of `repr`."""

    user_id: str
    gateway_token: "SecretText"
    agent_token: "SecretText"
    number: int
    """The agent's number on this host, from 1; never reused."""
    tools_version: int = 0
    """In its configuration, but not a setting of its container: another one replaces nothing."""


class SecretText(str):
    """A string whose `repr` hides its value, so that a careless log line does not leak it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "SecretText('•••')"


@dataclass(frozen=True, slots=True)
class Observed:
    """A container as the runtime reports it."""

    user_id: str
    status: ContainerStatus
    endpoint: Endpoint | None
    """The gateway's address while the container is running or paused."""
    exit_code: int | None = None
    oom_killed: bool = False


@dataclass(frozen=True, slots=True)
class RuntimeEvent:
    """A change of a container: `start`, `die`, `pause`, `unpause` or `remove`."""

    user_id: str
    kind: str


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """The processes and control group of a running or paused agent, if visible on this host."""

    leader: ProcessId
    """The agent's first process; a different one means that the agent was restarted."""
    memory: Path | None
    """The folder of the agent's control group: v2, or that of v1's memory controller."""
    pids: Callable[[], list[int]]
    """Lists the pids of the agent's processes, read anew at each call."""


class RuntimeUnavailable(Exception):
    """The runtime, or a part it needs, does not answer; `str()` has the remedy."""


class RuntimeFailed(Exception):
    """The runtime refused a call or failed; `str()` has the reason and the remedy."""


class Runtime(Protocol):
    """A driver. Its methods take user ids; container names are internal to it.

    Every method may raise `RuntimeUnavailable` or `RuntimeFailed`; `unpause`, `pause`, `start` and
    `stop` raise `RuntimeFailed` if the user has no container.
    """

    name: str

    async def problems(self) -> list[str]:
        """Why the runtime cannot work now (engine down, image missing): a sentence per reason."""
        ...

    async def relay_host(self) -> str:
        """The address of this host at which agents, and no other clients, reach the relay."""
        ...

    def home(self, user_id: str) -> Path:
        """The folder with all of the agent's files."""
        ...

    def uid(self, number: int) -> int | None:
        """The uid of the files of the agent with that number; `None` if agents share one."""
        ...

    async def openclaw_version(self) -> str:
        """The OpenClaw version of new containers, such as `2026.9.6`."""
        ...

    async def create(self, spec: AgentSpec) -> None:
        """Create the user's container, stopped, unless one with the same settings exists.

        One with other settings (image, limits, tokens) is replaced; its state folder stays. A
        failed creation is cleaned up.
        """
        ...

    async def is_current(self, spec: AgentSpec) -> bool:
        """Whether the user has a container with the settings that `create` would give it now."""
        ...

    async def set_tools_version(self, user_id: str, version: int) -> None:
        """Write the version of the user's tools into the gateway's configuration, if it has one.

        Starts and wakes nothing. A running gateway reads the file within seconds, a paused one
        after its wake, a stopped one at its start.
        """
        ...

    async def start(self, user_id: str) -> Endpoint:
        """Start the container and return its address, without waiting for the gateway."""
        ...

    async def pause(self, user_id: str) -> None: ...

    async def unpause(self, user_id: str) -> None: ...

    async def stop(self, user_id: str, *, grace_s: float) -> None:
        """Send SIGTERM, then SIGKILL after `grace_s` seconds. Unpauses a paused container first."""
        ...

    async def remove(self, user_id: str, *, with_state: bool) -> None:
        """Remove the container and, with `with_state`, delete the agent's folder for good."""
        ...

    async def inspect(self, user_id: str) -> Observed | None: ...

    async def observe_all(self) -> dict[str, Observed]:
        """All agents' containers, found by their labels, in one call to the engine."""
        ...

    async def cpu_seconds(self, user_id: str) -> float | None:
        """CPU seconds that the container has used since its start; `None` if unreadable."""
        ...

    async def whereabouts(self, user_id: str) -> Whereabouts | None:
        """The agent's processes and control group; `None` if it does not run or is not visible.

        Cheap once known: confirmed in procfs, without a call to the engine.
        """
        ...

    async def logs(self, user_id: str, *, lines: int, this_start: bool = False) -> str:
        """The gateway's last `lines` lines of output; with `this_start`, since its last start."""
        ...

    def events(self) -> AsyncIterator[RuntimeEvent]:
        """Changes of the containers. Raises `RuntimeUnavailable` when the engine goes away."""
        ...

    async def close(self) -> None: ...
