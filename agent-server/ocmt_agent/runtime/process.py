"""The process runtime: one OpenClaw process per user, on machines without a container engine.

All agents run as this server's user and can access its files, so this is only for evaluation and
for users who trust each other. Gateways outlive this server, which may be killed and restarted at
any time. A file beside an agent's state records its process, which is checked in procfs before use.
"""

import asyncio
import errno
import os
import signal
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ocmt_common.agent_api import AgentModel

from ocmt_agent.runtime.base import (
    AgentSpec,
    ContainerStatus,
    Endpoint,
    Observed,
    RuntimeEvent,
    RuntimeFailed,
    Whereabouts,
)
from ocmt_agent.runtime.cgroup import Cgroup, probe
from ocmt_agent.runtime.gateway_config_file import ConfigChange, translated_writing
from ocmt_agent.runtime.process_command import GatewayCommand, marks
from ocmt_agent.runtime.process_home import AgentHome, Record
from ocmt_agent.runtime.processes import (
    ProcessId,
    continue_all,
    family,
    gone,
    identify,
    spawn,
    stop_all,
)
from ocmt_agent.runtime.removal import remove_folder
from ocmt_agent.runtime.spec import (
    Limits,
    relay_urls,
    with_heartbeat,
    with_live_settings,
    with_model,
    with_tools_version,
)

_HOST = "127.0.0.1"
_KILL_WITHIN_S = 5.0
_STOP_WITHIN_S = 5.0
_REPLACE_GRACE_S = 10.0
_BOUND_LOG_EVERY_S = 60.0
_NO_PROCESS = "This agent has no gateway process. Any request starts one."
_NO_HOLD = "Gateways that run as plain processes cannot be held."


class ProcessRuntime:
    """Implements `Runtime`. Blocking file access is short (procfs, cgroupfs, a small JSON file)."""

    name = "process"

    def __init__(
        self,
        *,
        node: Path,
        openclaw_dir: Path,
        state_root: Path,
        limits: Limits,
        relay_host: str,
        relay_port: int,
    ) -> None:
        self._command = GatewayCommand(
            node=node,
            entry=openclaw_dir / "node_modules" / "openclaw" / "openclaw.mjs",
            limits=limits,
            relay=relay_urls(relay_host, relay_port),
        )
        self._root = state_root
        self._limits = limits
        self._relay_host = relay_host
        # Named by the data folder, so that two servers on one machine have different groups.
        self._cgroups = probe(f"ocmt-{state_root.stat().st_dev:x}-{state_root.stat().st_ino:x}")
        self._specs: dict[str, AgentSpec] = {}
        self._log_starts: dict[str, int] = {}
        """User id → length of the log, in bytes, at the gateway's start."""
        self._exit_codes: dict[str, int | None] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._events: asyncio.Queue[RuntimeEvent] = asyncio.Queue()
        self._watchers: dict[ProcessId, asyncio.Task[None]] = {}

    @property
    def notice(self) -> str:
        text = (
            "Agents run as plain processes of this server's user, without a container engine: use "
            "this only for people who trust each other, and Docker otherwise."
        )
        if not self._cgroups.limits_memory:
            text += " Their memory is not limited: this host allows no control groups."
        return text

    async def relay_host(self) -> str:
        return self._relay_host

    async def problems(self) -> list[str]:
        return self._command.problems()

    async def openclaw_version(self) -> str:
        return self._command.openclaw_version()

    async def create(self, spec: AgentSpec) -> None:
        async with self._lock(spec.user_id):
            home = self._home(spec.user_id)
            record = self._running(spec.user_id)
            if record is not None and record.spec != self._command.fingerprint(spec, home):
                await self._end(spec.user_id, grace_s=_REPLACE_GRACE_S)
            try:
                home.make()
            except OSError as error:
                raise RuntimeFailed(
                    f"The agent's folders cannot be created: {error}. Free space on the disk, and "
                    "let this server's user write to DATA_DIR."
                ) from error
            self._specs[spec.user_id] = spec

    async def is_current(self, spec: AgentSpec) -> bool:
        record = self._running(spec.user_id)
        home = self._home(spec.user_id)
        return record is not None and record.spec == self._command.fingerprint(spec, home)

    async def set_tools_version(self, user_id: str, version: int) -> None:
        change = partial(with_tools_version, version=version)
        await self._change_config(user_id, change, tools_version=version)

    async def set_model(self, user_id: str, model: AgentModel) -> None:
        await self._change_config(user_id, partial(with_model, model=model), model=model)

    async def set_heartbeat(self, user_id: str, minutes: int | None) -> None:
        change = partial(with_heartbeat, minutes=minutes)
        await self._change_config(user_id, change, heartbeat_minutes=minutes)

    async def _change_config(self, user_id: str, change: ConfigChange, **of_spec: Any) -> None:
        async with self._lock(user_id):
            spec = self._specs.get(user_id)
            if spec is not None:
                self._specs[user_id] = replace(spec, **of_spec)
            with translated_writing():
                await asyncio.to_thread(self._home(user_id).change_config, change)

    async def can_hold(self) -> bool:
        """No: a state has the paths of its files, which begin with the agent's home here."""
        return False

    async def hold_gateway(self, user_id: str) -> None:
        raise RuntimeFailed(_NO_HOLD)

    async def inherit(self, spec: AgentSpec, source: str) -> None:
        raise RuntimeFailed(_NO_HOLD)

    async def start(self, user_id: str) -> Endpoint:
        async with self._lock(user_id):
            record = self._running(user_id)
            if record is not None:
                return Endpoint(_HOST, record.port)
            for problem in await self.problems():
                raise RuntimeFailed(problem)
            spec = self._specs.get(user_id)
            if spec is None:
                raise RuntimeFailed("This agent has not been created since the server started.")
            await self._end(user_id, grace_s=0)  # children that a crashed gateway left behind
            return self._launch(spec)

    async def pause(self, user_id: str) -> None:
        async with self._lock(user_id):
            await self._set_frozen(user_id, self._gateway(user_id), frozen=True)

    async def unpause(self, user_id: str) -> None:
        async with self._lock(user_id):
            await self._set_frozen(user_id, self._gateway(user_id), frozen=False)

    async def stop(self, user_id: str, *, grace_s: float) -> None:
        async with self._lock(user_id):
            await self._end(user_id, grace_s=grace_s)

    async def remove(self, user_id: str, *, with_state: bool) -> None:
        async with self._lock(user_id):
            await self._end(user_id, grace_s=5)
            self._specs.pop(user_id, None)
            if with_state:
                await asyncio.to_thread(remove_folder, self._home(user_id).folder)

    async def inspect(self, user_id: str) -> Observed | None:
        record = self._home(user_id).record()
        if record is None and user_id not in self._specs:
            return None
        state = None if record is None else record.process.state()
        if record is None or state is None:
            exit_code = self._exit_codes.get(user_id)
            killed = exit_code in (None, -signal.SIGKILL)
            return Observed(
                user_id,
                ContainerStatus.EXITED,
                None,
                exit_code=exit_code,
                oom_killed=killed and self._cgroup(user_id).out_of_memory(),
            )
        frozen = self._cgroup(user_id).is_frozen() or state == "T"
        return Observed(
            user_id,
            ContainerStatus.PAUSED if frozen else ContainerStatus.RUNNING,
            Endpoint(_HOST, record.port),
        )

    async def observe_all(self) -> dict[str, Observed]:
        found = {}
        for folder in self._root.iterdir():
            observed = await self.inspect(folder.name)
            if observed is not None:
                found[folder.name] = observed
        return found

    async def cpu_seconds(self, user_id: str) -> float | None:
        return self._cgroup(user_id).cpu_seconds()

    async def whereabouts(self, user_id: str) -> Whereabouts | None:
        record = self._running(user_id)
        if record is None:
            return None
        cgroup = self._cgroup(user_id)

        def pids() -> list[int]:
            # Without groups, all of procfs is searched. It takes milliseconds, per reclaim only.
            inside = cgroup.pids()
            return inside or sorted(one.pid for one in self._members(user_id, record))

        return Whereabouts(record.process, cgroup.memory_folder(), pids)

    async def logs(self, user_id: str, *, lines: int, this_start: bool = False) -> str:
        start = self._log_starts.get(user_id, 0) if this_start else 0
        return await asyncio.to_thread(self._home(user_id).log_tail, lines, start)

    async def events(self) -> AsyncIterator[RuntimeEvent]:
        for folder in self._root.iterdir():  # gateways started by an earlier server
            record = self._running(folder.name)
            if record is not None and record.process not in self._watchers:
                self._watch(folder.name, record.process)
        while True:
            yield await self._events.get()

    async def close(self) -> None:
        """Stop watching the gateways, which continue to run."""
        watchers = list(self._watchers.values())
        for watcher in watchers:
            watcher.cancel()
        await asyncio.gather(*watchers, return_exceptions=True)
        self._cgroups.remove()

    # -- one process ---------------------------------------------------------------------------

    def _launch(self, spec: AgentSpec) -> Endpoint:
        home = self._home(spec.user_id)
        port = _free_port()
        cgroup = self._cgroup(spec.user_id)
        try:
            config = self._command.config(spec.user_id, port)
            home.write_config(with_live_settings(config, spec))
            home.bound_log()
            cgroup.make(self._limits)
            output = home.open_log()
            self._log_starts[spec.user_id] = os.fstat(output).st_size
            try:
                process = spawn(
                    self._command.arguments(home, port=port, join=cgroup.join_files()),
                    environment=self._command.environment(spec, home),
                    output=output,
                )
            finally:
                os.close(output)
        except (OSError, TimeoutError) as error:
            full = isinstance(error, OSError) and error.errno == errno.ENOSPC
            why = "the disk is full. Free space; the next request tries again" if full else error
            raise RuntimeFailed(f"The gateway process cannot be started: {why}.") from error
        if process is None:
            raise RuntimeFailed("The gateway process ended at once; see its log.")
        self._exit_codes.pop(spec.user_id, None)
        self._watch(spec.user_id, process)
        try:
            home.save(
                Record(process, port, self._command.fingerprint(spec, self._home(spec.user_id)))
            )
        except OSError as error:
            # Stop the unrecorded process: a restarted server could not find it.
            process.signal(signal.SIGKILL)
            raise RuntimeFailed(f"The process record cannot be written: {error}.") from error
        return Endpoint(_HOST, port)

    def _watch(self, user_id: str, process: ProcessId) -> None:
        watcher = asyncio.create_task(self._report_end(user_id, process))
        self._watchers[process] = watcher
        watcher.add_done_callback(lambda _: self._watchers.pop(process))

    async def _report_end(self, user_id: str, process: ProcessId) -> None:
        home = self._home(user_id)
        ended = asyncio.create_task(process.ended())
        try:
            while not ended.done():
                await asyncio.wait([ended], timeout=_BOUND_LOG_EVERY_S)
                await asyncio.to_thread(home.bound_log)
            self._exit_codes[user_id] = ended.result()
            self._events.put_nowait(RuntimeEvent(user_id, "die"))
        finally:
            ended.cancel()
            await asyncio.gather(ended, return_exceptions=True)

    def _gateway(self, user_id: str) -> Record:
        record = self._running(user_id)
        if record is None:
            raise RuntimeFailed(_NO_PROCESS)
        return record

    async def _set_frozen(self, user_id: str, record: Record, *, frozen: bool) -> None:
        """Freeze or thaw the gateway and its descendants; ignore those that have ended.

        Raises `RuntimeFailed`.
        """
        cgroup = self._cgroup(user_id)
        try:
            if cgroup.can_freeze(record.process.pid):
                await asyncio.to_thread(cgroup.set_frozen, frozen)
            elif frozen:
                await stop_all(lambda: self._members(user_id, record), within_s=_STOP_WITHIN_S)
            else:
                continue_all(self._members(user_id, record))
        except (OSError, TimeoutError) as error:
            raise RuntimeFailed(f"Freezing or thawing failed: {error}.") from error

    async def _end(self, user_id: str, *, grace_s: float) -> None:
        """Send SIGTERM to the gateway, and SIGKILL to all processes that are left.

        It has `grace_s` seconds to end. Raises `RuntimeFailed` if some cannot be killed.
        """
        record = self._running(user_id)
        if record is not None:
            record.process.signal(signal.SIGTERM)
            # A frozen process gets no signals.
            await self._set_frozen(user_id, record, frozen=False)
            await gone({record.process}, within_s=grace_s)
        deadline = time.monotonic() + _KILL_WITHIN_S
        # Repeat, since a process may have started another before it was killed.
        while leftovers := self._members(user_id, record):
            for member in leftovers:
                member.signal(signal.SIGKILL)
            if not await gone(leftovers, within_s=deadline - time.monotonic()):
                raise RuntimeFailed(
                    f"The gateway's processes did not end within {_KILL_WITHIN_S:g} s of SIGKILL."
                )
        watcher = self._watchers.get(record.process) if record is not None else None
        if watcher is not None:
            await asyncio.wait([watcher])  # not cancelled with this task
        self._cgroup(user_id).remove()

    def _members(self, user_id: str, record: Record | None) -> set[ProcessId]:
        """The gateway and its descendants, including those that left its session or outlived it."""
        leader = None if record is None else record.process
        inside = (identify(pid) for pid in self._cgroup(user_id).pids())
        return family(leader, marks=marks(self._home(user_id))).union(filter(None, inside))

    def _running(self, user_id: str) -> Record | None:
        record = self._home(user_id).record()
        return record if record is not None and record.process.state() is not None else None

    def _cgroup(self, user_id: str) -> Cgroup:
        return Cgroup(self._cgroups, user_id)

    def uid(self, number: int) -> int | None:
        return None

    def home(self, user_id: str) -> Path:
        return self._home(user_id).folder

    def _home(self, user_id: str) -> AgentHome:
        return AgentHome(self._root / user_id)

    def _lock(self, user_id: str) -> asyncio.Lock:
        return self._locks.setdefault(user_id, asyncio.Lock())


def _free_port() -> int:
    with socket.socket() as probe_socket:
        probe_socket.bind((_HOST, 0))
        port: int = probe_socket.getsockname()[1]
        return port
