"""Hosts for deploys in memory: the real steps on real folders, without processes.

Everything is real except ssh, rsync, git and the servers' processes, which are only recorded. A
fuse ends the deployer and the step at any effect, like a power cut or a killed process. The same
commands have the same effects in the same order, however slow the machine is: time passes only
while a health check waits, and hosts are deployed one after the other unless a test wants several
at once.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from tempfile import mkdtemp
from typing import Any

import pytest
from ocmt_cli.deploy import orchestration
from ocmt_cli.deploy.build import Artefact
from ocmt_cli.deploy.deployer import Deployer
from ocmt_cli.deploy.host_connection import component_on
from ocmt_cli.deploy.host_failures import HostFailed, Unreachable
from ocmt_cli.deploy.hostside import halting, health, installing, restored_data, server, steps
from ocmt_cli.deploy.hostside.component import Component, StepFailed
from ocmt_cli.deploy.inventory import HostEntry, Inventory, Policy, Role
from ocmt_cli.deploy.source import Source

from ocmt_testing.deploy.history import Cut

_MEMORY = Path("/dev/shm")


@contextmanager
def stub_world(
    hosts: Mapping[str, tuple[Role, ...]], *, hosts_at_once: int = 1
) -> Iterator["World"]:
    """Hosts with these roles, in a folder in memory."""
    folder = Path(mkdtemp(prefix="ocmt-stubs-", dir=_MEMORY if _MEMORY.is_dir() else None))
    try:
        with pytest.MonkeyPatch.context() as patch:
            world = World(folder, hosts, hosts_at_once)
            world.install(patch)
            yield world
    finally:
        shutil.rmtree(folder)


class _Clock:
    """Stands for the module `time` in health checks: time passes only while they wait."""

    def __init__(self) -> None:
        self._now_s = 0.0

    def monotonic(self) -> float:
        return self._now_s

    def sleep(self, seconds: float) -> None:
        self._now_s += seconds


@dataclass
class Processes:
    """The servers of one component on one host."""

    states: dict[str, str] = field(default_factory=dict)
    """Release → standby, serving or draining."""
    settings: dict[str, str] = field(default_factory=dict)
    """Release → the settings that it was started with."""


class StubSupervisor:
    """Records what a supervisor would start and stop. A release serves if it is current."""

    def __init__(self, world: "World", component: Component) -> None:
        self._world = world
        self._component = component
        self._processes = world.processes.setdefault(component.path, Processes())
        self._states = self._processes.states

    def _state(self, release: str) -> str:
        return "serving" if self._component.current in (None, release) else "standby"

    def start(self, release: str) -> None:
        self._world.effect()
        if release not in self._states and self._content(release) not in self._world.broken:
            self._states[release] = self._state(release)
            self._processes.settings[release] = self._component.env_digest()

    def admit(self, release: str) -> None:
        self._world.effect()
        if self._states.get(release) == "standby":
            self._states[release] = self._state(release)

    def ask_to_stop(self, release: str) -> None:
        self._world.effect()
        if release in self._states:
            self._states[release] = "draining"

    def stop(self, release: str, *, within_s: float) -> None:
        self._world.effect()
        self._states.pop(release, None)

    def is_alive(self, release: str) -> bool:
        return release in self._states

    def running(self) -> list[str]:
        return sorted(self._states)

    def readiness_socket(self, release: str) -> Path:
        return self._component.path / "run" / f"{release}.sock"

    def at_boot(self, release: str) -> None:
        self._world.effect()

    def migrate(self, release: str, *, expand: bool) -> None:
        self._world.effect()
        meta = self._component.meta(release)
        pending = [one for one in meta["revisions"] if one not in self._world.tables]
        late = [one for one in pending if one in meta["contracts"]]
        if expand and late:
            first = pending.index(late[0])
            if set(pending[first:]) - set(late):
                raise StepFailed(f"Migration {late[0]} removes what the running release needs")
            pending = pending[:first]
        self._world.tables += pending

    def log(self, release: str, lines: int) -> str:
        return ""

    def _content(self, release: str) -> str:
        return str(self._component.meta(release).get("content"))


@dataclass(frozen=True, slots=True)
class StubSource(Source):
    """A commit with a content for each component."""

    contents: tuple[tuple[Role, str], ...] = ()
    migrations: tuple[str, ...] = ("0001",)
    """Management's migrations; those with a name that ends in c contract."""
    later: tuple[str, ...] = ()
    """The commits that contain this one."""

    def content(self, role: Role) -> str:
        return dict(self.contents)[role]

    def revisions(self) -> tuple[list[str], list[str]]:
        return list(self.migrations), [one for one in self.migrations if one.endswith("c")]

    def has(self, commit: str) -> bool:
        return True

    def commits_since(self, commit: str, role: Role) -> list[str]:
        return [f"{self.commit[:12]} After {commit[:12]}"]

    def is_before(self, commit: str) -> bool:
        return commit in self.later


class _StubHost:
    """A host that only copies folders."""

    def __init__(self, world: "World", name: str) -> None:
        self.name = name
        self._world = world

    def rsync(
        self, src: Path, dst: PurePosixPath, *, step: str, options: Sequence[str] = ()
    ) -> None:
        if self.name in self._world.lost:
            raise Unreachable(self.name, step, "the connection was lost")
        self._world.effect()
        shutil.copytree(src, str(dst), dirs_exist_ok=True)


class StubConnection:
    """Runs steps in this process, which fail on a lost host, and after the fuse has blown."""

    def __init__(self, world: "World", entry: HostEntry) -> None:
        self.host = _StubHost(world, entry.name)
        self.entry = entry
        self._world = world
        self._locks: dict[Path, Any] = {}

    def lock(self, role: Role, *, what: str) -> None:
        component = self._component(role)
        path = Path(component["path"])
        path.mkdir(parents=True, exist_ok=True)
        self._locks[path] = what

    def ask(self, step: str, role: Role, *words: object) -> Any:
        if self.entry.name in self._world.lost:
            raise Unreachable(self.entry.name, f"{role}: {step}", "the connection was lost")
        request = {"step": step, "component": self._component(role), "words": words}
        changes = step in server._CHANGES
        if changes:
            self._world.effect()  # the request may be lost
        try:
            # Through JSON, like between machines.
            value = json.loads(json.dumps(server._answer(request, self._locks)))
        except StepFailed as failure:
            raise HostFailed(self.entry.name, f"{role}: {step}", str(failure)) from failure
        except OSError as error:
            raise HostFailed(self.entry.name, f"{role}: {step}", server._told(error)) from error
        if changes:
            self._world.effect()  # the answer may be lost
        return value

    def _component(self, role: Role) -> dict[str, Any]:
        known = component_on(self._world.inventory, self.entry, role)
        return {**known, "gate_timeout_s": 0.2, "gate_answers": 1}

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class StubDeployer(Deployer):
    world: "World | None" = None

    @contextmanager
    def connections(self) -> Iterator[Any]:
        assert self.world is not None
        names = dict.fromkeys(name for _, name in self.targets())
        yield {name: StubConnection(self.world, self.inventory.host(name)) for name in names}

    def each_that_answers(self, ask: Any) -> Any:
        """Call `ask` for one target after the other, so that the fuse's count is deterministic."""
        answers, failures = {}, {}
        for role, name in self.targets():
            try:
                answers[role, name] = ask(role, name)
            except HostFailed as failure:
                failures[name] = failure
        return answers, failures


class World:
    """The hosts, their deployed releases, and the fuse."""

    def __init__(
        self, folder: Path, hosts: Mapping[str, tuple[Role, ...]], hosts_at_once: int
    ) -> None:
        self.folder = folder
        entries = {
            name: HostEntry(
                name=name, address=f"{name}.example", roles=roles, supervisor="pidfile",
                root=PurePosixPath(folder / name),
            )
            for name, roles in hosts.items()
        }  # fmt: skip
        policy = Policy(
            keep_releases=50, min_free_mb=0, max_clock_skew_s=1e9, hosts_at_once=hosts_at_once
        )
        self.inventory = Inventory(file=folder / "ocmt.toml", hosts=entries, deploy=policy)
        self.processes: dict[Path, Processes] = {}
        self.broken: set[str] = set()
        """Contents that never become healthy."""
        self.lost: set[str] = set()
        """Hosts that do not answer."""
        self.tables: list[str] = []
        """The migrations that management's database has."""
        self.backup = ["0000"]
        """The migrations that a restored database has."""
        self.tags: list[str] = []
        self.reported: list[str] = []
        self.fuse: int | None = None
        for name, roles in hosts.items():
            for role in set(roles) - {"ui"}:
                env = self.component(role, name).env_file
                env.parent.mkdir(parents=True)
                env.write_text("A=1\n")

    def effect(self) -> None:
        """Called before each effect. Raises `Cut` if the fuse has blown."""
        if self.fuse is not None:
            if self.fuse == 0:
                raise Cut
            self.fuse -= 1

    def deployer(self, *roles: Role, limit: Sequence[str] = ()) -> StubDeployer:
        return StubDeployer(self.inventory, roles, self.reported.append, None, limit, world=self)

    def component(self, role: Role, host: str) -> Component:
        said = component_on(self.inventory, self.inventory.host(host), role)
        return Component.from_json(said)

    def serving(self, role: Role, host: str) -> list[str]:
        """The releases that answer requests."""
        component = self.component(role, host)
        if role == "ui":
            return [component.current] if component.current else []
        states = self.processes.get(component.path, Processes()).states
        return [release for release, state in states.items() if state == "serving"]

    def content(self, role: Role, host: str) -> str | None:
        """The content of the release that serves."""
        serving = self.serving(role, host)
        if len(serving) != 1:
            return None
        return str(self.component(role, host).meta(serving[0]).get("content"))

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Replace processes, git and builds with the stubs."""
        built = self.folder / "built"
        built.mkdir()
        (built / "file").touch()
        digest = hashlib.sha256(b"").hexdigest()
        (built / "manifest.json").write_text(json.dumps({"file": digest}))

        def build(source: Source, role: Role, *_: object) -> Artefact:
            return Artefact(built, None, source.content(role))

        def ask(ready: Path) -> health.Answer:
            path, release = ready.parent.parent, ready.stem
            state = self.processes.get(path, Processes()).states.get(release)
            if state in (None, "draining"):
                return health.Answer(0, "no answer", "", "")
            told = "standby" if state == "standby" else "ok"
            return health.Answer(200, "{}", release, told)

        def tag(report: object, source: object, role: Role, release: str, commit: str) -> None:
            self.tags.append(f"deploy/{role}/{release}")

        def supervisor_of(component: Component) -> StubSupervisor:
            return StubSupervisor(self, component)

        patch.setattr(orchestration, "build", build)
        patch.setattr(orchestration, "tag_release", tag)
        patch.setattr(orchestration, "tag_what_runs", lambda *_: None)
        patch.setattr(orchestration, "tag_rollbacks", lambda *_: None)
        patch.setattr(orchestration, "release_tags", lambda checkout: self.tags)
        patch.setattr(installing, "_make_venv", lambda *_: None)
        patch.setattr(health, "time", _Clock())
        patch.setattr(health, "ask", ask)
        patch.setattr(steps, "ask", ask)
        patch.setattr(steps, "supervisor_of", supervisor_of)
        patch.setattr(halting, "supervisor_of", supervisor_of)
        patch.setattr(halting, "_end_containers", lambda agents: None)
        patch.setattr(halting, "_end_processes", lambda agents: None)
        patch.setattr(restored_data, "_rename", self._with_fuse(restored_data._rename))
        patch.setattr("platform.libc_ver", lambda: ("glibc", "2.36"))
        patch.setattr(orchestration, "problems", lambda *_: [])
        patch.setattr("os.fsync", lambda file: None)
        patch.setattr(Component, "note", lambda *_, **__: self.effect())
        end_restore = Component.end_restore

        def restored(component: Component) -> None:
            if component.role == "mgmt":
                self.tables = list(self.backup)
            end_restore(component)

        patch.setattr(Component, "end_restore", restored)
        for name in ("point", "save"):
            patch.setattr(Component, name, self._with_fuse(getattr(Component, name)))

    def _with_fuse(self, method: Any) -> Any:
        def wrapped(*words: Any, **more: Any) -> Any:
            self.effect()
            return method(*words, **more)

        return wrapped
