"""Real servers for a history (`ocmt_testing.deploy.history`), over real ssh."""

import subprocess
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import httpx2
import pytest
from ocmt_cli.backup.restoring import restore
from ocmt_cli.backup.transfer import backup
from ocmt_cli.deploy.deployer import Deployer
from ocmt_cli.deploy.host_connection import HostConnection, component_on
from ocmt_cli.deploy.host_failures import HostFailed
from ocmt_cli.deploy.hostside.component import Component
from ocmt_cli.deploy.hostside.server import _CHANGES
from ocmt_cli.deploy.inventory import ORDER, Inventory, Role, load_inventory
from ocmt_cli.deploy.orchestration import deploy
from ocmt_cli.deploy.remote import SshHost
from ocmt_cli.deploy.rollback import rollback
from ocmt_cli.deploy.source import Source, read_source
from ocmt_common.file_lock import try_lock

from ocmt_testing.deploy.farm import BUILDS
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
MAIN = "management-server/ocmt_management/__main__.py"
SERVES = "            return _serve(settings, chosen.env_file)\n"
_BROKEN = '            raise SystemExit("broken on purpose")\n'
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
_SQL = """
import contextlib, sqlite3, sys
with contextlib.closing(sqlite3.connect(sys.argv[1])) as opened, opened:
    for statement in sys.argv[2:]:
        rows = opened.execute(statement).fetchall()
    print(rows[0][0] if rows else "")
"""
_DROP_AFTER_S = 0.2
_FREE_WITHIN_S = 240
"""Seconds for a host to end its step after a cut, which on a busy machine may start a server."""


class Machines(Protocol):
    """The hosts of an installation, as seen from this machine. An inventory names them."""

    @property
    def inventory(self) -> Path:
        """The inventory's file."""

    @property
    def databases(self) -> Sequence[Path]:
        """Management's database and the agent server's, if there is one, by their hosts' paths."""

    def argv(self, *words: str) -> list[str]:
        """The command that runs `words` where the databases are."""

    def root(self, host: str) -> Path:
        """The folder with a host's file system."""

    def health(self, role: Role) -> str:
        """The address of a server's `/health`."""

    def process(self, component: Component) -> str:
        """The identity of the process of the component's current release; empty for none."""

    def drop_connections(self, host: str) -> None:
        """Cut all connections to a host, like a network failure."""

    def lose(self, host: str) -> AbstractContextManager[None]:
        """Let a host accept no connections during the block."""

    def end_servers(self) -> None:
        """End the processes of all servers at once."""


@contextmanager
def real_installation(
    machines: Machines, checkout: Path, folder: Path
) -> Iterator["RealInstallation"]:
    """An installation on hosts without releases. `folder` is for its backup.

    Its commits are removed from `checkout` at the end.
    """
    text = machines.inventory.read_text()
    machines.inventory.write_text(text.replace("keep_releases = 3", "keep_releases = 50"))
    before = read_source(checkout).commit
    with pytest.MonkeyPatch.context() as patch:
        installation = RealInstallation(machines, checkout, folder / "backup")
        installation.install(patch)
        try:
            yield installation
        finally:
            _git(checkout, "reset", "--quiet", "--hard", before)


class RealInstallation:
    """An `Installation` of real servers, over real ssh.

    Each request that changes a host has three effects at which it can be cut: before it is sent,
    while the host works on it (the connection is dropped), and before its answer is read.
    """

    def __init__(self, machines: Machines, checkout: Path, kept: Path) -> None:
        self.fuse: int | None = None
        self._machines = machines
        self._checkout = checkout
        self._backup = kept
        self._changes = 0
        self._started_with: dict[str, str] = {}
        """A server's process → the digest of its settings when it was first seen."""
        inventory = self._inventory
        self.targets: Sequence[Target] = [
            (role, host.name) for role in ORDER for host in inventory.with_role(role)
        ]
        self._roles = tuple(dict.fromkeys(role for role, _ in self.targets))

    @property
    def _inventory(self) -> Inventory:
        return load_inventory(self._machines.inventory)

    def _deployer(self) -> Deployer:
        return Deployer(self._inventory, self._roles, lambda text: None)

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

    def _dropping(self, host: str, send: Callable[[], object]) -> None:
        """Send a request, and drop the host's connections meanwhile."""
        drop = threading.Timer(_DROP_AFTER_S, self._machines.drop_connections, [host])
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
            main = self._checkout / MAIN
            sound = main.read_text().replace(_BROKEN, SERVES)
            assert SERVES in sound
            main.write_text(sound.replace(SERVES, _BROKEN) if broken else sound)
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
            deploy(self._deployer(), self.source(), builds=BUILDS)
        if not self._backup.exists():
            self._mark("first")
            backup(
                self._inventory, self._backup, agent_bytes=10**9, now=datetime.now(UTC),
                say=lambda text: None,
            )  # fmt: skip

    def roll_back(self) -> None:
        with self._until_the_hosts_are_free():
            rollback(self._deployer(), to=None, why="", tag=lambda *_: None)

    def restore(self) -> None:
        states = [self.component(*target).state() for target in self.targets]
        if not any(state["restore"] for state in states):
            self._changes += 1
            self._mark(f"before change {self._changes}")
        with self._until_the_hosts_are_free():
            restore(self._inventory, self._backup, force=True, say=lambda text: None)

    @contextmanager
    def _until_the_hosts_are_free(self) -> Iterator[None]:
        """After a cut, wait until the hosts have ended the step that they were at."""
        self._note_processes()
        try:
            yield
        except Cut:
            for target in self.targets:
                lock = self.component(*target).path / "deploy.lock"
                until(partial(_is_free, lock), within_s=_FREE_WITHIN_S)
            raise

    def change_settings(self, role: Role, host: str) -> None:
        self._note_processes()
        self._changes += 1
        name, value = _SETTINGS[role]
        file = self.component(role, host).env_file
        lines = [one for one in file.read_text().splitlines() if not one.startswith(name)]
        file.write_text("\n".join([*lines, f"{name}={value + self._changes}\n"]))

    def restart(self) -> None:
        self._machines.end_servers()

    def lose(self, host: str) -> AbstractContextManager[None]:
        return self._machines.lose(host)

    def component(self, role: Role, host: str) -> Component:
        inventory = self._inventory
        said = component_on(inventory, inventory.host(host), role)
        path = self._machines.root(host) / str(said["path"]).lstrip("/")
        return Component.from_json({**said, "path": str(path)})

    def serving(self, role: Role, host: str) -> list[str]:
        if role == "ui":
            current = self.component(role, host).path / "current"
            return [(current / "version.txt").read_text().strip()]
        try:
            answer = httpx2.get(self._machines.health(role), timeout=60, trust_env=False)
        except httpx2.HTTPError:
            return []
        return [str(answer.json()["version"])]

    def has_current_settings(self, role: Role, host: str) -> bool:
        self._note_processes()
        component = self.component(role, host)
        return self._started_with[self._machines.process(component)] == component.env_digest()

    def _note_processes(self) -> None:
        for role, host in self.targets:
            component = self.component(role, host)
            process = "" if role == "ui" else self._machines.process(component)
            if process:
                self._started_with.setdefault(process, component.env_digest())

    def tables(self) -> Collection[str]:
        known = self.source().revisions()[0]
        newest = self._sql(self._machines.databases[0], "SELECT version_num FROM alembic_version")
        return known[: known.index(newest) + 1]

    def moments(self) -> set[str]:
        return {self._sql(one, "SELECT name FROM moment") for one in self._machines.databases}

    def _mark(self, moment: str) -> None:
        """Write into the servers' data which moment it is of."""
        for database in self._machines.databases:
            self._sql(
                database,
                "CREATE TABLE IF NOT EXISTS moment (name TEXT)",
                "DELETE FROM moment",
                f"INSERT INTO moment VALUES ('{moment}')",
            )

    def _sql(self, database: Path, *statements: str) -> str:
        """Run statements in one transaction. Returns the first value of the last one."""
        words = self._machines.argv("python3", "-c", _SQL, str(database), *statements)
        done = subprocess.run(words, check=True, capture_output=True, text=True)
        return done.stdout.strip()


def _is_free(lock: Path) -> bool:
    held = try_lock(lock)
    if held is None:
        return False
    held.release()
    return True


def _git(checkout: Path, *words: str) -> None:
    who = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
    subprocess.run(["git", "-C", str(checkout), *who, *words], check=True, capture_output=True)
