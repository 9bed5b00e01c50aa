"""Restores that are cut at any effect: the next command leaves the old data or the new."""

import itertools
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest
from ocmt_cli.deploy.inventory import Role
from ocmt_cli.deploy.orchestration import deploy
from ocmt_cli.deploy.restores import switch_data
from ocmt_cli.deploy.rollback import rollback
from ocmt_cli.deploy.server_status import server_line
from ocmt_cli.failure import CommandFailed
from ocmt_testing.deploy.history import Cut
from ocmt_testing.deploy.stub_hosts import StubSource, World, stub_world

HOSTS: Mapping[str, tuple[Role, ...]] = {"m": ("mgmt",), "a": ("agent",)}
TARGETS: tuple[tuple[Role, str], ...] = (("mgmt", "m"), ("agent", "a"))


class Restore:
    """Both servers with old data, and new data staged beside it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.deployer = world.deployer("mgmt", "agent")
        self.data = world.folder / "data"
        self.data.mkdir(mode=0o700)
        self._fill("old", "")
        for number in (1, 2):
            self.deploy(number)
        self._fill("new", "restore")

    def _fill(self, text: str, ending: str) -> None:
        for name in ("management.db", "agent.db"):
            file = self.data / (f".{name}.{ending}" if ending else name)
            with closing(sqlite3.connect(file)) as made, made:
                made.execute("create table t (a)")
                made.execute("insert into t values (?)", (text,))
        state = self.data / (f".agents.{ending}" if ending else "agents") / "u1"
        state.mkdir(parents=True)
        (state / "memory.md").write_text(text)

    def found(self) -> set[str]:
        """What the data is of, over both databases and the agents' files."""
        memory = self.data / "agents" / "u1" / "memory.md"
        said = {memory.read_text() if memory.exists() else "missing"}
        for name in ("management.db", "agent.db"):
            if not (self.data / name).exists():
                said.add("missing")
                continue
            with closing(sqlite3.connect(self.data / name)) as opened:
                said.add(str(opened.execute("select a from t").fetchone()[0]))
        return said

    def records(self) -> dict[tuple[Role, str], dict[str, Any]]:
        moves: dict[Role, list[dict[str, str]]] = {
            "mgmt": [self._move("sqlite", "management.db")],
            "agent": [self._move("sqlite", "agent.db"), self._move("files", "agents")],
        }
        shared = {
            "id": "7", "backup": "2026-11-01", "who": "ada", "at": "now", "lacking": [],
            "targets": [list(target) for target in TARGETS], "data": str(self.data),
        }  # fmt: skip
        return {target: {**shared, "moves": moves[target[0]]} for target in TARGETS}

    def _move(self, kind: str, name: str) -> dict[str, str]:
        staged = str(self.data / f".{name}.restore")
        return {"kind": kind, "staged": staged, "place": str(self.data / name)}

    def switch(self, *, cut: int | None = None) -> None:
        self.world.fuse = cut
        try:
            with self.deployer.connections() as connections:
                for role, host in TARGETS:
                    connections[host].lock(role, what="restore")
                switch_data(connections, self.records(), self.world.reported.append)
        finally:
            self.world.fuse = None

    def deploy(self, number: int, *roles: Role, cut: int | None = None) -> None:
        contents: tuple[tuple[Role, str], ...] = (
            ("mgmt", f"mgmt-{number}"), ("agent", f"agent-{number}"),
        )  # fmt: skip
        source = StubSource(self.world.folder, f"{number:012d}", contents)
        self.world.fuse = cut
        try:
            deploy(self.world.deployer(*(roles or ("mgmt", "agent"))), source,
                   builds=self.world.folder)  # fmt: skip
        finally:
            self.world.fuse = None

    def roll_back(self) -> None:
        rollback(self.deployer, to=None, why="", tag=lambda *_: None)

    def states(self) -> list[str]:
        with self.deployer.connections() as connections:
            said = {host: connections[host].ask("status", role) for role, host in TARGETS}
        now = datetime.now(UTC)
        return [server_line(role, host, said[host], now=now)["state"] for role, host in TARGETS]

    def serving(self) -> list[list[str]]:
        return [self.world.serving(role, host) for role, host in TARGETS]


def cut_restores(every: int = 1) -> Iterator[Restore]:
    """A restore that was cut, for every so many effects that it has."""
    for cut in itertools.count(step=every):
        with stub_world(HOSTS) as world:
            restore = Restore(world)
            try:
                restore.switch(cut=cut)
            except Cut:
                yield restore
            else:
                assert restore.found() == {"new"}
                assert cut > 20
                return


@pytest.mark.parametrize("attempt", ["deploy", "deploy another", "rollback"])
def test_after_a_cut_anywhere_the_next_command_leaves_the_old_data_or_the_new(
    attempt: str,
) -> None:
    attempts: dict[str, Callable[[Restore], None]] = {
        "deploy": lambda restore: restore.deploy(2),
        "deploy another": lambda restore: restore.deploy(3),
        "rollback": lambda restore: restore.roll_back(),
    }
    found = set()
    for restore in cut_restores(every=1 if attempt == "deploy" else 3):
        attempts[attempt](restore)
        (now,) = restore.found()
        found.add(now)
        assert all(len(one) == 1 for one in restore.serving())
        assert restore.states() == ["healthy", "healthy"]
    assert found == {"old", "new"}


def test_a_completion_that_is_cut_too_is_completed_by_the_next() -> None:
    for restore in cut_restores(every=4):
        for cut in (2, 5, 9, 14):
            try:
                restore.deploy(2, cut=cut)
            except Cut:
                continue
        restore.deploy(2)
        assert len(restore.found()) == 1
        assert restore.states() == ["healthy", "healthy"]


def test_nothing_serves_data_of_two_moments_meanwhile() -> None:
    for restore in cut_restores():
        if len(restore.found()) > 1:
            assert restore.serving() == [[], []]


def test_status_tells_of_it_and_what_to_run() -> None:
    told = set()
    for restore in cut_restores(every=3):
        told |= {one for one in restore.states() if one.startswith("RESTORE UNFINISHED")}
    assert told == {
        "RESTORE UNFINISHED: the restore of the backup of 2026-11-01 is unfinished (by ada, now): "
        "a deploy completes it on all its hosts, or withdraws it; run `./ocmt deploy`"
    }


@pytest.mark.parametrize("role", ["mgmt", "agent"])
def test_a_deploy_of_one_component_does_not_complete_it_alone(role: Role) -> None:
    refused = 0
    for restore in cut_restores(every=4):
        unfinished = any(one.startswith("RESTORE UNFINISHED") for one in restore.states())
        component = restore.world.component(*next(one for one in TARGETS if one[0] == role))
        if not (unfinished and component.state()["restore"]):
            continue
        with pytest.raises(CommandFailed, match="for all components and hosts"):
            restore.deploy(2, role)
        refused += 1
    assert refused > 1


def test_the_old_data_is_kept() -> None:
    with stub_world(HOSTS) as world:
        restore = Restore(world)
        restore.switch()
        for name in ("management.db", "agent.db"):
            with closing(sqlite3.connect(restore.data / f"{name}.before-restore-7")) as opened:
                assert opened.execute("select a from t").fetchone() == ("old",)
        kept = restore.data / "agents.before-restore-7" / "u1" / "memory.md"
        assert kept.read_text() == "old"
        assert len([one for one in world.reported if "the old data is kept in" in one]) == 3
