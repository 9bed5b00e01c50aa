"""Stub hosts for a history (`ocmt_testing.deploy.history`)."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

from ocmt_cli.deploy.hostside.component import Component
from ocmt_cli.deploy.inventory import Role
from ocmt_cli.deploy.orchestration import deploy
from ocmt_cli.deploy.restores import facts_after_restores, switch_data
from ocmt_cli.deploy.rollback import rollback
from ocmt_cli.deploy.rollback_plan import Facts

from ocmt_testing.deploy.history import Target
from ocmt_testing.deploy.stub_hosts import StubSource, World, stub_world


@contextmanager
def stub_installation(hosts: Mapping[str, tuple[Role, ...]]) -> Iterator["StubInstallation"]:
    """An installation on hosts with one role each."""
    with stub_world(hosts) as world:
        yield StubInstallation(world, [(role, name) for name, (role,) in hosts.items()])


class StubInstallation:
    """An `Installation` whose servers only exist as records."""

    def __init__(self, world: World, targets: Sequence[Target]) -> None:
        self.targets = targets
        self._world = world
        self._roles = tuple(dict.fromkeys(role for role, _ in targets))
        self._servers = [target for target in targets if target[0] != "ui"]
        self._commits = 0
        self._changes = 1
        self._restores = 0
        self._head: dict[Role, str] = {role: f"{role}-0" for role in self._roles}
        self._data = world.folder / "data"
        self._data.mkdir(mode=0o700)
        self._write_data("first")

    @property
    def fuse(self) -> int | None:
        return self._world.fuse

    @fuse.setter
    def fuse(self, effects: int | None) -> None:
        self._world.fuse = effects

    def commit(self, *roles: Role, broken: bool = False) -> None:
        self._commits += 1
        self._head |= {role: f"{role}-{self._commits}" for role in roles}
        if broken:
            self._world.broken.add(self._head["mgmt"])

    def source(self) -> StubSource:
        commit = f"{self._commits:012d}" + "0" * 28
        # Each commit of management adds a migration.
        count = int(self._head["mgmt"].rpartition("-")[2]) + 1
        return StubSource(
            self._world.folder,
            commit,
            contents=tuple(self._head.items()),
            migrations=tuple(f"{number:04d}" for number in range(count)),
        )

    def deploy(self) -> None:
        deploy(self._world.deployer(*self._roles), self.source(), builds=self._world.folder)

    def roll_back(self) -> None:
        rollback(self._world.deployer(*self._roles), to=None, why="", tag=lambda *_: None)

    def restore(self) -> None:
        self._restores += 1
        roles = {role for role, _ in self._servers}
        with self._world.deployer(*roles).connections() as connections:

            def read() -> Facts:
                return {
                    (role, host): connections[host].ask("facts", role)
                    for role, host in self._servers
                }

            for role, host in self._servers:
                connections[host].lock(role, what="restore")
            facts_after_restores(connections, read, lambda text: None)
            self._write_data(f"before restore {self._restores}")
            shared = {
                "id": str(self._restores), "backup": "2026-11-01", "who": "ada", "at": "now",
                "targets": [list(one) for one in self._servers], "data": "/nowhere", "lacking": [],
            }  # fmt: skip
            records = {
                (role, host): {**shared, "moves": [self._staged(role)]}
                for role, host in self._servers
            }
            switch_data(connections, records, lambda text: None)

    def _staged(self, role: Role) -> dict[str, str]:
        staged = self._data / f".{role}.restore"
        staged.write_text("first")
        return {"kind": "files", "staged": str(staged), "place": str(self._data / role)}

    def _write_data(self, moment: str) -> None:
        for role, _ in self._servers:
            (self._data / role).write_text(moment)

    def change_settings(self, role: Role, host: str) -> None:
        self._changes += 1
        self._world.component(role, host).env_file.write_text(f"A={self._changes}\n")

    def restart(self) -> None:
        for processes in self._world.processes.values():
            processes.states.clear()

    @contextmanager
    def lose(self, host: str) -> Iterator[None]:
        self._world.lost = {host}
        yield
        self._world.lost = set()

    def component(self, role: Role, host: str) -> Component:
        return self._world.component(role, host)

    def serving(self, role: Role, host: str) -> list[str]:
        return self._world.serving(role, host)

    def has_current_settings(self, role: Role, host: str) -> bool:
        component = self._world.component(role, host)
        started_with = self._world.processes[component.path].settings[str(component.current)]
        return started_with == component.env_digest()

    def tables(self) -> Collection[str]:
        return self._world.tables

    def moments(self) -> set[str]:
        files = [self._data / role for role, _ in self._servers]
        return {file.read_text() if file.exists() else "missing" for file in files}
