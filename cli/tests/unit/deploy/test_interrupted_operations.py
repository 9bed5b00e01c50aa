"""Deploys and rollbacks that are cut at any effect, and taken up by the same command or another."""

import itertools
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from ocmt_cli.deploy.host_failures import HostFailed
from ocmt_cli.deploy.inventory import Role
from ocmt_cli.deploy.orchestration import deploy
from ocmt_cli.deploy.rollback import rollback
from ocmt_cli.deploy.server_status import server_line
from ocmt_testing.deploy.history import Cut
from ocmt_testing.deploy.stub_hosts import StubSource, World, stub_world

HOSTS: Mapping[str, tuple[Role, ...]] = {"m": ("mgmt",), "u1": ("ui",), "u2": ("ui",)}
FIRST = {"m": "mgmt-0", "u1": "ui-0", "u2": "ui-0"}
GOOD = {"m": "mgmt-1", "u1": "ui-1", "u2": "ui-1"}
BAD = {"m": "mgmt-2", "u1": "ui-2", "u2": "ui-2"}


class Operator:
    """Deploys and rolls back; cut off after a number of effects."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.reasons: set[str] = set()

    def deploy(self, number: int, *roles: Role, cut: int | None = None) -> None:
        contents: list[tuple[Role, str]] = [("mgmt", f"mgmt-{number}"), ("ui", f"ui-{number}")]
        source = StubSource(self.world.folder, f"{number:012d}", contents=tuple(contents))
        deployer = self.world.deployer(*(roles or ("mgmt", "ui")))
        with self._fused(cut):
            deploy(deployer, source, builds=self.world.folder)

    def roll_back(self, *, cut: int | None = None, why: str = "") -> None:
        deployer = self.world.deployer("mgmt", "ui")
        with self._fused(cut):
            rollback(deployer, to=None, why=why, tag=lambda *said: self.reasons.add(said[2]))

    @contextmanager
    def _fused(self, cut: int | None) -> Iterator[None]:
        self.world.fuse = cut
        try:
            yield
        finally:
            self.world.fuse = None

    def serves(self) -> dict[str, str | None]:
        return {name: self.world.content(role, name) for name, (role,) in HOSTS.items()}

    def is_recorded(self) -> bool:
        """Whether any host has a rollback on record."""
        states = [self.world.component(role, name).state() for name, (role,) in HOSTS.items()]
        return any(state["rollback"] for state in states)


@pytest.fixture
def operator() -> Iterator[Operator]:
    with stub_world(HOSTS) as world:
        yield Operator(world)


def cuts_of_a_rollback(every: int = 1) -> Iterator[Operator]:
    """An operator whose rollback from 2 to 1 was cut, for every so many effects that it has."""
    for cut in itertools.count(step=every):
        with stub_world(HOSTS) as world:
            operator = Operator(world)
            for number in range(3):
                operator.deploy(number)
            try:
                operator.roll_back(cut=cut, why="it leaks")
            except Cut:
                yield operator
            else:
                assert cut > 30
                return


def cuts_of_a_deploy(*roles: Role, every: int = 1) -> Iterator[Operator]:
    """An operator whose deploy of 2 over 1 was cut, for every so many effects that it has."""
    for cut in itertools.count(step=every):
        with stub_world(HOSTS) as world:
            operator = Operator(world)
            operator.deploy(0)
            operator.deploy(1)
            try:
                operator.deploy(2, *roles, cut=cut)
            except Cut:
                yield operator
            else:
                assert cut > 15
                return


def test_a_rollback_that_was_cut_anywhere_and_run_again_ends_where_it_was_going() -> None:
    for operator in cuts_of_a_rollback(every=2):
        recorded = operator.is_recorded()
        if operator.serves() == GOOD and not recorded:
            continue  # it was done, but for the end of the command
        operator.reasons.clear()
        operator.roll_back()
        assert operator.serves() == GOOD
        assert not operator.is_recorded()
        assert operator.reasons == {"it leaks" if recorded else ""}
        operator.roll_back()
        assert operator.serves() == FIRST


def test_a_deploy_of_the_same_commit_finishes_a_rollback_that_was_cut() -> None:
    for operator in cuts_of_a_rollback(every=5):
        began = operator.is_recorded() or operator.serves() == GOOD
        operator.deploy(2)
        assert operator.serves() == (GOOD if began else BAD)
        assert not operator.is_recorded()


def test_a_deploy_of_a_newer_commit_goes_back_to_where_a_cut_rollback_went() -> None:
    for operator in cuts_of_a_rollback(every=5):
        began = operator.is_recorded() or operator.serves() == GOOD
        operator.deploy(3)
        assert set(operator.serves().values()) == {"mgmt-3", "ui-3"}
        operator.roll_back()
        assert operator.serves() == (GOOD if began else BAD)


def test_status_tells_of_an_unfinished_rollback_with_its_reason() -> None:
    for operator in cuts_of_a_rollback(every=5):
        with operator.world.deployer("mgmt", "ui").connections() as connections:
            said = {name: connections[name].ask("status", role) for name, (role,) in HOSTS.items()}
        now = datetime.now(UTC)
        states = [server_line(HOSTS[one][0], one, said[one], now=now)["state"] for one in said]
        told = [state for state in states if state.startswith("ROLLBACK UNFINISHED from 2")]
        assert bool(told) is operator.is_recorded()
        assert all("it leaks): run `./ocmt rollback`" in state for state in told)


def test_one_rollback_undoes_a_deploy_that_was_cut_and_completed() -> None:
    for operator in cuts_of_a_deploy(every=5):
        operator.deploy(2)
        assert operator.serves() == BAD
        operator.roll_back()
        assert operator.serves() == GOOD


def test_a_rollback_of_a_deploy_that_was_cut_restores_what_it_reached() -> None:
    for operator in cuts_of_a_deploy(every=5):
        components = [operator.world.component(role, name) for name, (role,) in HOSTS.items()]
        reached = any(str(one.meta(one.current or "")["content"])[-1] == "2" for one in components)
        operator.roll_back()
        assert operator.serves() == (GOOD if reached else FIRST)


def test_components_that_were_deployed_one_by_one_are_rolled_back_together(
    operator: Operator,
) -> None:
    operator.deploy(1)
    operator.deploy(2, "mgmt")
    operator.deploy(2, "ui")
    operator.roll_back()
    assert operator.serves() == GOOD


def test_settings_that_changed_after_a_deploy_was_cut_come_into_force() -> None:
    for operator in cuts_of_a_deploy("mgmt", every=3):
        component = operator.world.component("mgmt", "m")
        component.env_file.write_text("A=2\n")
        operator.deploy(2)
        (serving,) = operator.world.serving("mgmt", "m")
        started_with = operator.world.processes[component.path].settings[serving]
        assert started_with == component.env_digest()


def test_a_deploy_that_fails_at_one_host_tells_which_have_it_and_is_rolled_back_there(
    operator: Operator,
) -> None:
    operator.deploy(0)
    operator.deploy(1)
    folder = operator.world.component("ui", "u2").path / "releases"
    kept = folder.rename(folder.with_name("kept"))
    folder.write_text("a file where a folder is meant")
    with pytest.raises(HostFailed, match=r"^u2: ui: prepare: "):
        operator.deploy(2)
    assert re.search(
        r"ui: the hosts differ: u1 serve .*-0{11}2, and u2", operator.world.reported[-1]
    )

    folder.unlink()
    kept.rename(folder)
    operator.roll_back()
    assert operator.serves() == GOOD
