"""A `Runtime` in memory, in which a test can make any call fail or wait.

It follows the protocol's contract: calls are idempotent, and raise `RuntimeFailed` without a
container.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

from ocmt_agent.runtime.base import (
    AgentSpec,
    ContainerStatus,
    Endpoint,
    Observed,
    RuntimeEvent,
    RuntimeFailed,
    RuntimeUnavailable,
    Whereabouts,
)
from ocmt_common.agent_api import AgentModel
from ocmt_common.openclaw import openclaw_version

ENDPOINT = Endpoint("127.0.0.1", 9)


class Gate:
    """Blocks calls. `reached` is set when a call waits; `open` lets all continue."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self._open = asyncio.Event()

    async def passed(self) -> None:
        self.reached.set()
        await self._open.wait()

    def open(self) -> None:
        self._open.set()


@dataclass
class FakeContainer:
    spec: AgentSpec
    status: ContainerStatus = ContainerStatus.EXITED
    exit_code: int | None = None
    oom_killed: bool = False
    boot: int = 0
    """A number that is different for each start of a process."""
    cpu_s: float = 0.0
    on_hold: bool = False
    """Whether its gateway waits, or would wait at a boot, before it reads its state."""
    read: frozenset[str] = frozenset()
    """What was in the state that its gateway read last."""


class FakeRuntime:
    name = "fake"

    def __init__(self) -> None:
        self.first_uid: int | None = None
        self.root = Path("/nonexistent")
        """The folder of the agents' folders."""
        self.containers: dict[str, FakeContainer] = {}
        self.tools_versions: dict[str, int] = {}
        """User id → the version in the gateway's configuration."""
        self.models: dict[str, AgentModel] = {}
        """The same of the model."""
        self.heartbeats: dict[str, int | None] = {}
        """User id → the minutes in the gateway's configuration."""
        self.calls: Counter[str] = Counter()
        self.faults: dict[str, list[Exception]] = {}
        """Method → errors that its next calls raise, one each."""
        self._gates: dict[str, Gate] = {}
        self.down: str | None = None
        """If set, every call raises `RuntimeUnavailable` with this text."""
        self.removed_state: list[str] = []
        self.holds = True
        """Whether gateways can be held."""
        self.states: dict[str, set[str]] = {}
        """Home → what its state has. A test writes there for a user; a gateway reads it once it
        starts, or is no longer held."""
        self.openclaw = openclaw_version()
        """The OpenClaw version of new containers."""
        self.started_openclaw: dict[str, str] = {}
        self.kernel: dict[str, Whereabouts] = {}
        """User id → whereabouts, set by the test."""
        self.log_text = ""
        """The output of a container's last start."""
        self.earlier_log_text = ""
        self._boots = 0
        self._events: asyncio.Queue[RuntimeEvent | None] = asyncio.Queue()

    async def _called(self, method: str) -> None:
        self.calls[method] += 1
        if self.down is not None:
            raise RuntimeUnavailable(self.down)
        if method in self._gates:
            await self._gates[method].passed()
        else:
            await asyncio.sleep(0)  # yield, like every real call
        if self.faults.get(method):
            raise self.faults[method].pop(0)

    def _one(self, user_id: str) -> FakeContainer:
        if user_id not in self.containers:
            raise RuntimeFailed("There is no such container.")
        return self.containers[user_id]

    async def problems(self) -> list[str]:
        self.calls["problems"] += 1
        return [] if self.down is None else [self.down]

    async def relay_host(self) -> str:
        return "127.0.0.1"

    def home(self, user_id: str) -> Path:
        return self.root / user_id

    def uid(self, number: int) -> int | None:
        return None if self.first_uid is None else self.first_uid + number

    async def openclaw_version(self) -> str:
        await self._called("openclaw_version")
        return self.openclaw

    async def create(self, spec: AgentSpec) -> None:
        await self._called("create")
        existing = self.containers.get(spec.user_id)
        if existing is None or spec != replace(
            existing.spec,
            tools_version=spec.tools_version,
            model=spec.model,
            heartbeat_minutes=spec.heartbeat_minutes,
        ):
            self.containers[spec.user_id] = FakeContainer(spec)
        self._configure(spec)

    def _configure(self, spec: AgentSpec) -> None:
        self.containers[spec.user_id].on_hold = False
        self.tools_versions[spec.user_id] = spec.tools_version
        self.heartbeats[spec.user_id] = spec.heartbeat_minutes
        self.models[spec.user_id] = spec.model

    def _reads(self, home: str) -> None:
        """A gateway that runs and is not held has read its state."""
        container = self.containers[home]
        container.read = frozenset(self.states.setdefault(home, set()))

    async def can_hold(self) -> bool:
        await self._called("can_hold")
        return self.holds

    async def hold_gateway(self, user_id: str) -> None:
        await self._called("hold_gateway")
        container = self._one(user_id)
        if not self.holds or container.status is not ContainerStatus.RUNNING:
            raise RuntimeFailed("Its gateway cannot be held.")
        container.on_hold = True
        container.status = ContainerStatus.PAUSED
        container.read = frozenset()
        self.states[user_id] = set()

    async def inherit(self, spec: AgentSpec, source: str) -> None:
        await self._called("inherit")
        if source in self.states:
            self.states.setdefault(spec.user_id, set()).update(self.states.pop(source))
        if spec.user_id in self.containers:
            self._configure(spec)
            if self.containers[spec.user_id].status is not ContainerStatus.EXITED:
                self._reads(spec.user_id)

    async def is_current(self, spec: AgentSpec) -> bool:
        await self._called("is_current")
        existing = self.containers.get(spec.user_id)
        as_made = existing and spec == replace(
            existing.spec,
            tools_version=spec.tools_version,
            model=spec.model,
            heartbeat_minutes=spec.heartbeat_minutes,
        )
        return bool(as_made) and self.started_openclaw.get(spec.user_id) == self.openclaw

    async def set_tools_version(self, user_id: str, version: int) -> None:
        await self._called("set_tools_version")
        self.tools_versions[user_id] = version

    async def set_model(self, user_id: str, model: AgentModel) -> None:
        await self._called("set_model")
        self.models[user_id] = model

    async def set_heartbeat(self, user_id: str, minutes: int | None) -> None:
        await self._called("set_heartbeat")
        self.heartbeats[user_id] = minutes

    async def start(self, user_id: str) -> Endpoint:
        await self._called("start")
        container = self._one(user_id)
        if container.status is ContainerStatus.EXITED:
            container.status = ContainerStatus.RUNNING
            self.started_openclaw[user_id] = self.openclaw
            self._boots += 1
            container.boot = self._boots
            if not container.on_hold:
                self._reads(user_id)
            container.exit_code = None
        return ENDPOINT

    async def pause(self, user_id: str) -> None:
        await self._called("pause")
        container = self._one(user_id)
        if container.status is ContainerStatus.EXITED:
            raise RuntimeFailed("The container is not running.")
        container.status = ContainerStatus.PAUSED

    async def unpause(self, user_id: str) -> None:
        await self._called("unpause")
        container = self._one(user_id)
        if container.status is ContainerStatus.EXITED:
            raise RuntimeFailed("The container is not running.")
        container.status = ContainerStatus.RUNNING

    async def stop(self, user_id: str, *, grace_s: float) -> None:
        await self._called("stop")
        container = self._one(user_id)
        if container.status is not ContainerStatus.EXITED:
            container.status = ContainerStatus.EXITED
            container.exit_code = 0

    async def remove(self, user_id: str, *, with_state: bool) -> None:
        await self._called("remove")
        self.containers.pop(user_id, None)
        if with_state:
            self.removed_state.append(user_id)
            self.states.pop(user_id, None)

    async def inspect(self, user_id: str) -> Observed | None:
        await self._called("inspect")
        return self._observed(user_id)

    async def observe_all(self) -> dict[str, Observed]:
        await self._called("observe_all")
        return {u: seen for u in self.containers if (seen := self._observed(u)) is not None}

    def _observed(self, user_id: str) -> Observed | None:
        container = self.containers.get(user_id)
        if container is None:
            return None
        runs = container.status is not ContainerStatus.EXITED
        return Observed(
            user_id,
            container.status,
            ENDPOINT if runs else None,
            None if runs else container.exit_code,
            container.oom_killed,
        )

    async def cpu_seconds(self, user_id: str) -> float | None:
        await self._called("cpu_seconds")
        return self._one(user_id).cpu_s

    async def whereabouts(self, user_id: str) -> Whereabouts | None:
        await self._called("whereabouts")
        container = self.containers.get(user_id)
        runs = container is not None and container.status is not ContainerStatus.EXITED
        return self.kernel.get(user_id) if runs else None

    async def logs(self, user_id: str, *, lines: int, this_start: bool = False) -> str:
        await self._called("logs")
        self._one(user_id)
        return self.log_text if this_start else f"{self.earlier_log_text}{self.log_text}"

    async def events(self) -> AsyncIterator[RuntimeEvent]:
        await self._called("events")
        while (event := await self._events.get()) is not None:
            yield event
        raise RuntimeUnavailable("The engine went away.")

    async def close(self) -> None:
        self.calls["close"] += 1

    # For tests

    def hold(self, method: str) -> Gate:
        """Block calls of `method` until the gate is opened."""
        self._gates[method] = gate = Gate()
        return gate

    def die(self, user_id: str, *, exit_code: int = 137, oom_killed: bool = False) -> None:
        """End a container as a crash does, with an event."""
        container = self.containers[user_id]
        container.status = ContainerStatus.EXITED
        container.exit_code = exit_code
        container.oom_killed = oom_killed
        self._events.put_nowait(RuntimeEvent(user_id, "die"))

    def end_reports(self) -> None:
        """End the event stream, as an engine's restart does."""
        self._events.put_nowait(None)
