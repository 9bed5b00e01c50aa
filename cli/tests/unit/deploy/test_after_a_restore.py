"""What hosts do with a database that was restored: they migrate it, and forget the one before."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

import pytest
from ocmt_cli.deploy.inventory import Role
from ocmt_cli.deploy.orchestration import deploy
from ocmt_cli.deploy.restores import switch_data
from ocmt_cli.deploy.rollback import rollback
from ocmt_cli.deploy.server_status import server_line
from ocmt_cli.failure import CommandFailed
from ocmt_testing.deploy.stub_hosts import StubSource, World, stub_world

HOSTS: Mapping[str, tuple[Role, ...]] = {"m": ("mgmt",)}
OLD, NEW = ("0001", "0002"), ("0001", "0002", "0003", "0004c")


class Management:
    """A management server, with the database that a restore leaves."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.deployer = world.deployer("mgmt")

    def deploy(self, number: int, migrations: tuple[str, ...], *, force: bool = False) -> None:
        content: tuple[tuple[Role, str], ...] = (("mgmt", f"mgmt-{number}"),)
        source = StubSource(self.world.folder, f"{number:012d}", content, migrations)
        deploy(self.deployer, source, builds=self.world.folder, force=force)

    def roll_back(self) -> None:
        rollback(self.deployer, to=None, why="", tag=lambda *_: None)

    def restore(self, tables: tuple[str, ...]) -> None:
        record = {
            "id": "7", "backup": "2026-11-01", "who": "ada", "at": "now", "lacking": [],
            "targets": [["mgmt", "m"]], "data": "/nowhere", "moves": [],
        }  # fmt: skip
        with self.deployer.connections() as connections:
            connections["m"].lock("mgmt", what="restore")
            self.world.backup = list(tables)
            switch_data(connections, {("mgmt", "m"): record}, lambda text: None)

    def status(self) -> dict[str, object]:
        with self.deployer.connections() as connections:
            said = connections["m"].ask("status", "mgmt")
        return server_line("mgmt", "m", said, now=datetime.now(UTC))


@pytest.fixture
def management() -> Iterator[Management]:
    with stub_world(HOSTS) as world:
        made = Management(world)
        made.deploy(1, OLD)
        made.deploy(2, NEW)
        assert world.tables == list(NEW)
        yield made


@pytest.mark.parametrize("tables", [OLD, ("0001",), NEW])
def test_the_next_deploy_of_the_same_commit_migrates_the_restored_database(
    management: Management, tables: tuple[str, ...]
) -> None:
    management.restore(tables)
    management.deploy(2, NEW)
    assert management.world.tables == list(NEW)
    assert management.world.content("mgmt", "m") == "mgmt-2"
    assert management.status()["state"] == "healthy"


def test_a_server_that_the_machine_started_on_the_restored_database_is_migrated_too(
    management: Management,
) -> None:
    management.restore(OLD)
    component = management.world.component("mgmt", "m")
    states = management.world.processes[component.path].states
    states[str(component.current)] = "serving"  # as at a boot
    assert management.status()["state"] != "healthy"
    management.deploy(2, NEW)
    assert management.world.tables == list(NEW)


def test_a_newer_commit_applies_the_contracting_migrations_again(management: Management) -> None:
    management.restore(OLD)
    management.deploy(3, (*NEW, "0005"))
    assert management.world.tables == [*NEW, "0005"]


def test_the_release_before_can_serve_the_restored_database(management: Management) -> None:
    with pytest.raises(CommandFailed, match="migration 0004c removed"):
        management.roll_back()
    management.restore(OLD)
    management.roll_back()
    assert management.world.content("mgmt", "m") == "mgmt-1"
    assert management.world.tables == list(OLD)
    # And a release after that is no dead end.
    management.deploy(3, (*NEW, "0005c"))
    assert management.world.tables == [*NEW, "0005c"]
