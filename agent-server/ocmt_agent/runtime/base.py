"""The interface of runtimes, which run the gateways.

A runtime handles containers and processes, not idle times, sessions or HTTP. All calls but
`hold_gateway` are idempotent: a state that is already reached is not an error.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from ocmt_common.agent_api import AgentModel

from ocmt_agent.runtime.processes import ProcessId


class ContainerStatus(StrEnum):
    """A container's status as the runtime reports it, never from a cache."""

    RUNNING = "running"
    PAUSED = "paused"
    EXITED = "exited"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The address of a gateway, on the agents' network or on loopback."""

    host: str
    port: int

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class AgentSpec:
    """The settings of a user's container. `repr` masks the secrets."""

    user_id: str
    gateway_token: "SecretText"
    agent_token: "SecretText"
    number: int
    """The agent's number on this host, from 1; never reused."""
    tools_version: int = 0
    """This and what follows is in the gateway's configuration, which a running gateway reloads. No
    change of it replaces the container."""
    model: AgentModel = field(default_factory=AgentModel)
    heartbeat_minutes: int | None = None
    """The heartbeat's interval; `None` turns it off."""


class SecretText(str):
    """A string whose `repr`, and that of an object which holds it, masks its value.

    `str()`, f-strings, JSON and log values still show it.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "SecretText('•••')"


@dataclass(frozen=True, slots=True)
class Observed:
    """A container as the runtime reports it."""

    user_id: str
    status: ContainerStatus
    endpoint: Endpoint | None
    """The gateway's address while the container is running or paused, else `None`."""
    exit_code: int | None = None
    """`None` while it runs, if it is unknown, and with Docker in `observe_all`."""
    oom_killed: bool = False
    """Whether the kernel killed one of its processes for lack of memory, if that is known."""


@dataclass(frozen=True, slots=True)
class RuntimeEvent:
    """A change of a container: `start`, `die`, `pause`, `unpause` or `remove`."""

    user_id: str
    kind: str


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """The processes and control group of a running or paused agent, if visible on this host."""

    leader: ProcessId
    """The agent's first process, which differs after a restart."""
    memory: Path | None
    """The folder of the agent's control group: v2's, or that of v1's memory controller; `None`
    without a group."""
    pids: Callable[[], list[int]]
    """Lists the current pids of the agent's processes."""


class RuntimeUnavailable(Exception):
    """The runtime, or something that it needs, is missing or does not answer.

    `str()` says what to do.
    """


class RuntimeFailed(Exception):
    """The runtime rejected a call or failed. `str()` says why, and what to do if that is known."""


class Runtime(Protocol):
    """A driver. Its methods take user ids; container names are internal.

    The async methods may raise `RuntimeUnavailable` or `RuntimeFailed`. `unpause`, `pause` and
    `start` raise `RuntimeFailed` if the user has no container; `stop` and `logs` may.
    """

    name: str

    async def problems(self) -> list[str]:
        """Why the runtime cannot work now (engine down, image missing), each with the cure."""
        ...

    async def relay_host(self) -> str:
        """This host's address at which agents reach the relay."""
        ...

    def home(self, user_id: str) -> Path:
        """The folder with all files of the agent."""
        ...

    def uid(self, number: int) -> int | None:
        """The uid that owns the files of the agent with this number; `None` if agents share one."""
        ...

    async def openclaw_version(self) -> str:
        """The OpenClaw version of new containers, such as `2026.9.6`."""
        ...

    async def create(self, spec: AgentSpec) -> None:
        """Create the user's container, stopped, unless one with the same settings exists.

        A container with other settings (image, limits, tokens) is replaced; its state folder stays.
        """
        ...

    async def is_current(self, spec: AgentSpec) -> bool:
        """Whether the user has a container with the settings that `create` would give it now."""
        ...

    async def set_tools_version(self, user_id: str, version: int) -> None:
        """Write the version of the user's tools into the gateway's configuration, if it has one.

        Does not start or wake the gateway. A running one reads the file within seconds, a paused
        one after its wake, a stopped one when it starts.
        """
        ...

    async def set_heartbeat(self, user_id: str, minutes: int | None) -> None:
        """Write the heartbeat's interval into the configuration, as above; `None` turns it off."""
        ...

    async def set_model(self, user_id: str, model: AgentModel) -> None:
        """Write the shape of the user's model into the gateway's configuration, as above."""
        ...

    async def can_hold(self) -> bool:
        """Whether this runtime's gateways can be held before they read their state."""
        ...

    async def hold_gateway(self, user_id: str) -> None:
        """Restart a running gateway in its process up to where it reads its state; pause it there.

        Its state is then empty. It goes on once `inherit` has given it another. Raises
        `RuntimeFailed` where `can_hold` is false.
        """
        ...

    async def inherit(self, spec: AgentSpec, source: str) -> None:
        """Move the state of the home `source` into the user's, configure it, end the hold.

        Repeating it goes on with a move that was cut short. Neither container's gateway may be
        using its state: one is not running, the other one is held or not running either.
        """
        ...

    async def start(self, user_id: str) -> Endpoint:
        """Start the container and return its address, without waiting for the gateway."""
        ...

    async def pause(self, user_id: str) -> None: ...

    async def unpause(self, user_id: str) -> None: ...

    async def stop(self, user_id: str, *, grace_s: float) -> None:
        """Unpause the container if needed; send SIGTERM, then SIGKILL after `grace_s` seconds."""
        ...

    async def remove(self, user_id: str, *, with_state: bool) -> None:
        """Remove the container and, with `with_state`, delete the agent's folder for good."""
        ...

    async def inspect(self, user_id: str) -> Observed | None:
        """The user's container; `None` if there is none."""
        ...

    async def observe_all(self) -> dict[str, Observed]:
        """User id → container, of all agents; with Docker by labels, in one call to the engine."""
        ...

    async def cpu_seconds(self, user_id: str) -> float | None:
        """CPU seconds that the container has used since its start; `None` if unreadable."""
        ...

    async def whereabouts(self, user_id: str) -> Whereabouts | None:
        """The agent's processes and control group; `None` if it is not running or not visible.

        Cheap once known: it is confirmed in procfs, without a call to the engine.
        """
        ...

    async def logs(self, user_id: str, *, lines: int, this_start: bool = False) -> str:
        """The gateway's last `lines` lines of output; `this_start`: only since its last start."""
        ...

    def events(self) -> AsyncIterator[RuntimeEvent]:
        """Stream the containers' changes. Raises `RuntimeUnavailable` when the engine goes away."""
        ...

    async def close(self) -> None: ...
