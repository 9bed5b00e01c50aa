"""The embedded runtime: one OpenClaw process a user, for a machine without a container engine.

Every agent runs as our own user on our own files: single-trust, for evaluation and for people who
trust each other. Gateways outlive this server (it may be killed and started again at any moment);
a record beside the state says which process is whose, and is believed only after the kernel
confirms it.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from ocmt_agent.runtime.base import (
    AgentSpec,
    ContainerStatus,
    Endpoint,
    Observed,
    RuntimeEvent,
    RuntimeFailed,
)
from ocmt_agent.runtime.cgroup import Cgroup, probe
from ocmt_agent.runtime.processes import ProcessId, identify, session_members
from ocmt_agent.runtime.spec import (
    Limits,
    gateway_config,
    gateway_environment,
    relay_urls,
)
from ocmt_agent.runtime.tail import tail

_HOST = "127.0.0.1"
_MAX_LOG_BYTES = 5 * 1024 * 1024
_KILL_WITHIN_S = 5.0
_NO_PROCESS = "This agent has no gateway process. Any request starts it."
# Measured: about 125 MB less than Node's defaults at the same boot time.
_HEAP_FLAGS = ("--max-old-space-size=1024", "--max-semi-space-size=8")


@dataclass(frozen=True, slots=True)
class _Record:
    """What a restarted server needs to find a gateway again."""

    process: ProcessId
    port: int


class ProcessRuntime:
    """See `Runtime`. Blocking file work is short (procfs, cgroupfs, a small JSON file)."""

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
        self._node = node
        self._entry = openclaw_dir / "node_modules" / "openclaw" / "openclaw.mjs"
        self._root = state_root
        self._limits = limits
        self._relay_host = relay_host
        self._openclaw = relay_urls(relay_host, relay_port)
        # Groups are named after the data folder, so that two servers on one machine stay apart.
        self._cgroups = probe(f"ocmt-{state_root.stat().st_dev:x}-{state_root.stat().st_ino:x}")
        self._specs: dict[str, AgentSpec] = {}
        self._children: dict[str, asyncio.subprocess.Process] = {}
        self._exit_codes: dict[str, int] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._events: asyncio.Queue[RuntimeEvent] = asyncio.Queue()
        self._watchers: set[asyncio.Task[None]] = set()

    @property
    def notice(self) -> str:
        return (
            "Agents run as plain processes of this server's user (no container engine): use this "
            "for yourself or people who trust each other, and Docker for anybody else."
        )

    async def relay_host(self) -> str:
        return self._relay_host

    async def problems(self) -> list[str]:
        found = []
        if not self._entry.is_file():
            found.append(
                f"OpenClaw is not installed at {self._entry.parent}. `ocmt up` installs it; or "
                "set OPENCLAW_DIR to the folder that holds its node_modules."
            )
        if not os.access(self._node, os.X_OK):
            found.append(f"There is no Node.js at {self._node}: set NODE_BINARY.")
        return found

    async def create(self, spec: AgentSpec) -> None:
        async with self._lock(spec.user_id):
            before = self._specs.get(spec.user_id)
            if before is not None and before != spec and self._running(spec.user_id):
                await self._end(spec.user_id, grace_s=10)
            home = self._home(spec.user_id)
            try:
                home.mkdir(mode=0o700, parents=True, exist_ok=True)
                (home / "state").mkdir(mode=0o700, exist_ok=True)
            except OSError as error:
                raise RuntimeFailed(f"The state folder cannot be made: {error}.") from error
            self._specs[spec.user_id] = spec

    async def start(self, user_id: str) -> Endpoint:
        async with self._lock(user_id):
            record = self._running(user_id)
            if record is not None:
                return Endpoint(_HOST, record.port)
            for problem in await self.problems():
                raise RuntimeFailed(problem)
            spec = self._specs.get(user_id)
            if spec is None:
                raise RuntimeFailed("This agent was not created since the server started.")
            return await self._launch(spec)

    async def pause(self, user_id: str) -> None:
        async with self._lock(user_id):
            await self._set_frozen(user_id, frozen=True)

    async def unpause(self, user_id: str) -> None:
        async with self._lock(user_id):
            await self._set_frozen(user_id, frozen=False)

    async def stop(self, user_id: str, *, grace_s: float) -> None:
        async with self._lock(user_id):
            await self._end(user_id, grace_s=grace_s)

    async def remove(self, user_id: str, *, with_state: bool) -> None:
        async with self._lock(user_id):
            await self._end(user_id, grace_s=5)
            self._specs.pop(user_id, None)
            self._cgroup(user_id).remove()
            if with_state:
                # rmtree does not follow links an agent may have planted in its folder.
                await asyncio.to_thread(shutil.rmtree, self._home(user_id), ignore_errors=True)

    async def inspect(self, user_id: str) -> Observed | None:
        record = self._record(user_id)
        if record is None:
            return None if user_id not in self._specs else self._exited(user_id)
        state = record.process.state()
        if state is None:
            return self._exited(user_id)
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

    async def logs(self, user_id: str, *, lines: int) -> str:
        return await asyncio.to_thread(tail, self._log(user_id), lines)

    async def events(self) -> AsyncIterator[RuntimeEvent]:
        while True:
            yield await self._events.get()

    async def close(self) -> None:
        """Let go of the gateways; they go on without us."""
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)

    # -- one process ---------------------------------------------------------------------------

    async def _launch(self, spec: AgentSpec) -> Endpoint:
        home = self._home(spec.user_id)
        port = _free_port()
        config = home / "openclaw.json"
        log = self._log(spec.user_id)
        try:
            _write_private(
                config,
                json.dumps(gateway_config(self._openclaw, bind="loopback", port=port), indent=1),
            )
            if log.exists() and log.stat().st_size > _MAX_LOG_BYTES:
                log.replace(log.with_suffix(".log.1"))
            cgroup = self._cgroup(spec.user_id)
            cgroup.make(self._limits)
            (home / "tmp").mkdir(mode=0o700, exist_ok=True)
            environment = gateway_environment(
                spec, state_dir=str(home / "state"), config_path=str(config)
            ) | {
                "PATH": f"{self._node.parent}:/usr/local/bin:/usr/bin:/bin",
                "HOME": str(home / "state"),
                "TMPDIR": str(home / "tmp"),
                "LANG": "C.UTF-8",
            }
            # The shell puts itself into the groups and becomes the gateway: no moment outside.
            joins = "".join(f'echo $$ > "{file}" || true; ' for file in cgroup.join_files())
            with log.open("ab") as output:
                child = await asyncio.create_subprocess_exec(
                    "/bin/sh",
                    "-c",
                    f'{joins}exec "$@"',
                    "sh",
                    str(self._node),
                    *_HEAP_FLAGS,
                    str(self._entry),
                    "gateway",
                    "--bind",
                    "loopback",
                    "--port",
                    str(port),
                    cwd=home / "state",
                    env=environment,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
        except OSError as error:
            raise RuntimeFailed(f"The gateway process cannot be started: {error}.") from error
        process = identify(child.pid)
        if process is not None:
            record = {"pid": process.pid, "startedTicks": process.started_ticks, "port": port}
            try:
                _write_private(home / "process.json", json.dumps(record))
            except OSError as error:
                # Unrecorded, a restarted server could not find it again: end it now.
                process.signal(signal.SIGKILL)
                await child.wait()
                raise RuntimeFailed(f"The process record cannot be written: {error}.") from error
        self._children[spec.user_id] = child
        watcher = asyncio.create_task(self._watch(spec.user_id, child))
        self._watchers.add(watcher)
        watcher.add_done_callback(self._watchers.discard)
        return Endpoint(_HOST, port)

    async def _watch(self, user_id: str, child: asyncio.subprocess.Process) -> None:
        self._exit_codes[user_id] = await child.wait()
        self._events.put_nowait(RuntimeEvent(user_id, "die"))

    async def _set_frozen(self, user_id: str, *, frozen: bool) -> None:
        record = self._running(user_id)
        if record is None:
            raise RuntimeFailed(_NO_PROCESS)
        cgroup = self._cgroup(user_id)
        if cgroup.can_freeze:
            try:
                await asyncio.to_thread(cgroup.set_frozen, frozen)
            except (OSError, TimeoutError) as error:
                raise RuntimeFailed(f"Freezing or thawing failed: {error}.") from error
            return
        number = signal.SIGSTOP if frozen else signal.SIGCONT
        for member in self._members(user_id, record):
            member.signal(number)

    async def _end(self, user_id: str, *, grace_s: float) -> None:
        record = self._running(user_id)
        if record is not None:
            record.process.signal(signal.SIGTERM)
            # A frozen process only sees its signals once it is thawed.
            await self._set_frozen(user_id, frozen=False)
            await _gone([record.process], within_s=grace_s)
        leftovers = self._members(user_id, record)
        for member in leftovers:
            member.signal(signal.SIGKILL)
        if not await _gone(leftovers, within_s=_KILL_WITHIN_S):
            raise RuntimeFailed("The gateway's processes do not end, not even when killed.")
        child = self._children.pop(user_id, None)
        if child is not None:
            await child.wait()

    def _members(self, user_id: str, record: _Record | None) -> list[ProcessId]:
        """The gateway's whole family: by session, and by group for those that left the session."""
        found = set(session_members(record.process.pid)) if record is not None else set()
        for pid in self._cgroup(user_id).pids():
            process = identify(pid)
            if process is not None:
                found.add(process)
        return sorted(found, key=lambda p: p.pid)

    def _running(self, user_id: str) -> _Record | None:
        record = self._record(user_id)
        return record if record is not None and record.process.state() is not None else None

    def _exited(self, user_id: str) -> Observed:
        return Observed(
            user_id, ContainerStatus.EXITED, None, exit_code=self._exit_codes.get(user_id)
        )

    def _record(self, user_id: str) -> _Record | None:
        try:
            read = json.loads((self._home(user_id) / "process.json").read_text())
            return _Record(ProcessId(int(read["pid"]), int(read["startedTicks"])), read["port"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _cgroup(self, user_id: str) -> Cgroup:
        return Cgroup(self._cgroups, user_id)

    def _home(self, user_id: str) -> Path:
        return self._root / user_id

    def _log(self, user_id: str) -> Path:
        return self._home(user_id) / "gateway.log"

    def _lock(self, user_id: str) -> asyncio.Lock:
        return self._locks.setdefault(user_id, asyncio.Lock())


def _free_port() -> int:
    with socket.socket() as probe_socket:
        probe_socket.bind((_HOST, 0))
        port: int = probe_socket.getsockname()[1]
        return port


def _write_private(path: Path, text: str) -> None:
    """Replace a file in one step, readable by us only."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        draft.unlink()
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


async def _gone(processes: list[ProcessId], *, within_s: float) -> bool:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    while any(process.state() is not None for process in processes):
        if loop.time() > deadline:
            return False
        await asyncio.sleep(0.02)
    return True
