"""The real servers of a farm for a history (`ocmt_testing.deploy.history`)."""

import sqlite3
import subprocess
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
from ocmt_cli.backup.restoring import restore
from ocmt_cli.backup.transfer import backup
from ocmt_cli.deploy.host_connection import HostConnection, component_on
from ocmt_cli.deploy.host_failures import HostFailed
from ocmt_cli.deploy.hostside.component import Component
from ocmt_cli.deploy.hostside.server import _CHANGES
from ocmt_cli.deploy.inventory import ORDER, Role, load_inventory
from ocmt_cli.deploy.orchestration import deploy
from ocmt_cli.deploy.remote import SshHost
from ocmt_cli.deploy.source import Source, read_source
from ocmt_common.file_lock import try_lock

from ocmt_testing.deploy.farm import BUILDS, Farm, deployer, end_processes_below, roll_back
from ocmt_testing.deploy.history import Cut, Target
from ocmt_testing.deploy.load import until

_FILES: dict[Role, str] = {
    "mgmt": "management-server/ocmt_management/__init__.py",
    "agent": "agent-server/ocmt_agent/__init__.py",
}
_SETTINGS: dict[Role, tuple[str, int]] = {
    "mgmt": ("OWN_AWAKE_HOURS_MAX", 10),
    "agent": ("PAUSE_AFTER_MS", 1_000_000),
}
_MAIN = "management-server/ocmt_management/__main__.py"
_SERVES = "        return _serve(settings)\n"
_BROKEN = '        raise SystemExit("broken on purpose")\n'
_MIGRATIONS = "management-server/ocmt_management/migrations/versions"
_MIGRATION = '''\
"""A migration of a history."""

revision = "{new}"
down_revision = "{newest}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    pass
'''
_DROP_AFTER_S = 0.2


@contextmanager
def farm_installation(made: Farm, checkout: Path) -> Iterator["FarmInstallation"]:
    """An installation on a new farm, whose commits are removed from `checkout` at the end."""
    inventory = made.inventory.read_text()
    made.inventory.write_text(inventory.replace("keep_releases = 3", "keep_releases = 50"))
    before = read_source(checkout).commit
    with pytest.MonkeyPatch.context() as patch:
        installation = FarmInstallation(made, checkout)
        installation.install(patch)
        try:
            yield installation
        finally:
            _git(checkout, "reset", "--quiet", "--hard", before)


class FarmInstallation:
    """An `Installation` of real servers, over real ssh.

    Each request that changes a host has three effects at which it can be cut: before it is sent,
    while the host works on it (the connection is dropped), and before its answer is read.
    """

    def __init__(self, farm: Farm, checkout: Path) -> None:
        self.fuse: int | None = None
        self.targets: Sequence[Target] = [(role, role) for role in ORDER]
        self._farm = farm
        self._checkout = checkout
        self._backup = farm.folder / "backup"
        self._changes = 0
        self._started_with: dict[str, str] = {}
        """A server's process → the digest of its settings when it was first seen."""

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Let the fuse cut requests and copies."""
        ask, rsync = HostConnection.ask, SshHost.rsync

        def cut_ask(
            connection: HostConnection, step: str, role: Role, *words: object, **more: object
        ) -> Any:
            def send() -> Any:
                return ask(connection, step, role, *words, **more)

            if step not in _CHANGES:
                return send()
            self._effect()
            if self._is_blown():
                self._dropping(connection.host.name, send)
            value = send()
            self._effect()
            return value

        def cut_rsync(host: SshHost, *words: Any, **more: Any) -> None:
            self._effect()
            rsync(host, *words, **more)

        patch.setattr(HostConnection, "ask", cut_ask)
        patch.setattr(SshHost, "rsync", cut_rsync)

    def _is_blown(self) -> bool:
        """Count an effect. Returns whether it is the one to cut, or comes after it."""
        if self.fuse is None:
            return False
        self.fuse -= 1
        return self.fuse < 0

    def _effect(self) -> None:
        if self._is_blown():
            raise Cut

    def _dropping(self, host: str, send: Any) -> None:
        """Send a request, and drop the host's connections meanwhile."""
        drop = threading.Timer(_DROP_AFTER_S, self._farm.machines[host].drop_connections)
        drop.start()
        with suppress(HostFailed):
            send()
        drop.join()
        raise Cut

    def commit(self, *roles: Role, broken: bool = False) -> None:
        self._changes += 1
        newest = self.source().revisions()[0][-1]
        for role in set(roles) & set(_FILES):
            with (self._checkout / _FILES[role]).open("a") as file:
                file.write(f"\n# Change {self._changes} of a history.\n")
        if "mgmt" in roles:
            self._add_migration(newest)
            main = self._checkout / _MAIN
            sound = main.read_text().replace(_BROKEN, _SERVES)
            assert _SERVES in sound
            main.write_text(sound.replace(_SERVES, _BROKEN) if broken else sound)
        _git(self._checkout, "add", "management-server", "agent-server")
        _git(self._checkout, "commit", "--quiet", "--message", f"Change {self._changes}")

    def _add_migration(self, newest: str) -> None:
        new = f"{int(newest) + 1:04d}"
        file = self._checkout / _MIGRATIONS / f"{new}_of_a_history.py"
        file.write_text(_MIGRATION.format(new=new, newest=newest))

    def source(self) -> Source:
        return read_source(self._checkout)

    def deploy(self) -> None:
        with self._until_the_hosts_are_free():
            deploy(deployer(self._farm), self.source(), builds=BUILDS)
        if not self._backup.exists():
            self._mark("first")
            backup(
                load_inventory(self._farm.inventory), self._backup, agent_bytes=10**9,
                now=datetime.now(UTC), say=lambda text: None,
            )  # fmt: skip

    def roll_back(self) -> None:
        with self._until_the_hosts_are_free():
            roll_back(self._farm)

    def restore(self) -> None:
        states = [self.component(*target).state() for target in self.targets]
        if not any(state["restore"] for state in states):
            self._changes += 1
            self._mark(f"before change {self._changes}")
        with self._until_the_hosts_are_free():
            restore(
                load_inventory(self._farm.inventory), self._backup, force=True,
                say=lambda text: None,
            )  # fmt: skip

    @contextmanager
    def _until_the_hosts_are_free(self) -> Iterator[None]:
        """After a cut, wait until the hosts have ended the step that they were at."""
        self._note_processes()
        try:
            yield
        except Cut:
            for target in self.targets:
                lock = self.component(*target).path / "deploy.lock"
                until(partial(_is_free, lock), within_s=120)
            raise

    def change_settings(self, role: Role, host: str) -> None:
        self._note_processes()
        self._changes += 1
        name, value = _SETTINGS[role]
        file = self.component(role, host).env_file
        lines = [one for one in file.read_text().splitlines() if not one.startswith(name)]
        file.write_text("\n".join([*lines, f"{name}={value + self._changes}\n"]))

    def restart(self) -> None:
        for role in _FILES:
            end_processes_below(self._farm.component(role))

    @contextmanager
    def lose(self, host: str) -> Iterator[None]:
        self._farm.machines[host].stop()
        try:
            yield
        finally:
            self._farm.machines[host].start()

    def component(self, role: Role, host: str) -> Component:
        inventory = load_inventory(self._farm.inventory)
        return Component.from_json(component_on(inventory, inventory.host(host), role))

    def serving(self, role: Role, host: str) -> list[str]:
        if role == "ui":
            current = self.component(role, host).path / "current"
            return [(current / "version.txt").read_text().strip()]
        try:
            return [self._farm.serving(role)]
        except httpx2.HTTPError:
            return []

    def has_current_settings(self, role: Role, host: str) -> bool:
        self._note_processes()
        component = self.component(role, host)
        return self._started_with[_process(component)] == component.env_digest()

    def _note_processes(self) -> None:
        for role, host in self.targets:
            component = self.component(role, host)
            process = _process(component)
            if process:
                self._started_with.setdefault(process, component.env_digest())

    def tables(self) -> Collection[str]:
        known = self.source().revisions()[0]
        with closing(sqlite3.connect(self._databases()[0])) as opened:
            (newest,) = opened.execute("SELECT version_num FROM alembic_version").fetchone()
        return known[: known.index(newest) + 1]

    def moments(self) -> set[str]:
        found = set()
        for database in self._databases():
            with closing(sqlite3.connect(database)) as opened:
                found.add(str(opened.execute("SELECT name FROM moment").fetchone()[0]))
        return found

    def _mark(self, moment: str) -> None:
        """Write into both servers' data which moment it is of."""
        for database in self._databases():
            with closing(sqlite3.connect(database)) as opened, opened:
                opened.execute("CREATE TABLE IF NOT EXISTS moment (name TEXT)")
                opened.execute("DELETE FROM moment")
                opened.execute("INSERT INTO moment VALUES (?)", (moment,))

    def _databases(self) -> tuple[Path, Path]:
        folder = self._farm.folder
        return folder / "mgmt-data" / "management.db", folder / "agent-data" / "agent.db"


def _process(component: Component) -> str:
    """The identity of the process of the current release; empty for a page."""
    try:
        return (component.path / "run" / f"{component.current}.pid").read_text()
    except FileNotFoundError:
        return ""


def _is_free(lock: Path) -> bool:
    held = try_lock(lock)
    if held is None:
        return False
    held.release()
    return True


def _git(checkout: Path, *words: str) -> None:
    who = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
    subprocess.run(["git", "-C", str(checkout), *who, *words], check=True, capture_output=True)
