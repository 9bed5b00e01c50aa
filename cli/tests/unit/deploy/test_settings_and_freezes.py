"""Settings that a rollback takes back, and freezes that refuse deploys."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from ocmt_cli.deploy.hostside import journal
from ocmt_cli.deploy.hostside.settings_history import differing, merged
from ocmt_cli.deploy.inventory import Role
from ocmt_cli.deploy.orchestration import deploy
from ocmt_cli.deploy.plan import Step
from ocmt_cli.deploy.rollback import rollback
from ocmt_cli.deploy.server_status import server_line
from ocmt_cli.failure import CommandFailed
from ocmt_testing.deploy.history import Cut
from ocmt_testing.deploy.stub_hosts import StubSource, World, stub_world

HOSTS: Mapping[str, tuple[Role, ...]] = {"m": ("mgmt",), "u": ("ui",)}
FIRST = "PORT=3000\nSMTP_HOST=old.example\nVAULT_KEY=k1:a\n"


class Operator:
    def __init__(self, world: World) -> None:
        self.world = world
        self.component = world.component("mgmt", "m")
        self.env = self.component.env_file

    def set(self, text: str) -> None:
        self.env.write_text(text)

    def deploy(self, number: int, *, force: bool = False) -> list[Step]:
        contents: tuple[tuple[Role, str], ...] = (
            ("mgmt", f"mgmt-{number}"), ("ui", f"ui-{number}"),
        )  # fmt: skip
        source = StubSource(self.world.folder, f"{number:012d}", contents)
        deployer = self.world.deployer("mgmt", "ui")
        return deploy(deployer, source, builds=self.world.folder, force=force)

    def roll_back(self, *, cut: int | None = None) -> None:
        self.world.fuse = cut
        try:
            rollback(self.world.deployer("mgmt", "ui"), to=None, why="", tag=lambda *_: None)
        finally:
            self.world.fuse = None

    def ask(self, step: str, *words: str) -> None:
        with self.world.deployer("mgmt", "ui").connections() as connections:
            for host, (role,) in HOSTS.items():
                connections[host].lock(role, what=step)
                connections[host].ask(step, role, *words)

    def status(self) -> dict[str, Any]:
        with self.world.deployer("mgmt").connections() as connections:
            said: dict[str, Any] = connections["m"].ask("status", "mgmt")
        return said

    def started_with(self) -> str:
        return self.world.processes[self.component.path].settings[str(self.component.current)]


@pytest.fixture
def operator() -> Iterator[Operator]:
    with stub_world(HOSTS) as world:
        made = Operator(world)
        made.set(FIRST)
        made.deploy(1)
        yield made


def test_a_rollback_takes_the_settings_back_that_came_with_the_deploy(operator: Operator) -> None:
    operator.set(FIRST.replace("old", "new"))
    operator.env.chmod(0o640)
    operator.deploy(2)
    operator.roll_back()
    assert operator.env.read_text() == FIRST
    assert operator.env.stat().st_mode & 0o777 == 0o640
    assert operator.started_with() == operator.component.env_digest()
    before = operator.env.with_name(".env.before-rollback")
    assert before.read_text() == FIRST.replace("old", "new")
    assert any("its settings go back too: SMTP_HOST" in one for one in operator.world.reported)


@pytest.mark.parametrize(
    "text", [f"# a remark\n\n{FIRST}", FIRST.replace("\n", "\n# more\n"), FIRST.rstrip("\n")]
)
def test_remarks_in_the_settings_need_no_deploy(operator: Operator, text: str) -> None:
    operator.set(text)
    assert all(step.action == "unchanged" for step in operator.deploy(1))


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("old", "new"),
        lambda text: text.replace("k1:a", "k2:b,k1:a"),  # which no rollback takes back
        lambda text: f"# a remark\n{text}",
        lambda text: "\n".join(reversed(text.splitlines())),
    ],
)
def test_a_rollback_of_a_cut_deploy_starts_what_still_runs_with_other_settings_again(
    change: Callable[[str], str],
) -> None:
    """The deploying command was killed before it stopped the earlier release."""
    for cut in range(20, 30):
        with stub_world(HOSTS) as world:
            operator = Operator(world)
            operator.set(FIRST)
            operator.deploy(1)
            operator.deploy(2)
            operator.set(change(FIRST))
            world.fuse = cut
            with suppress(Cut):
                operator.deploy(3)
            world.fuse = None
            operator.roll_back()
            assert operator.started_with() == operator.component.env_digest()
            assert not any(operator.status()[name] for name in ("settings_changed", "rollback"))


def test_a_deploy_of_settings_alone_is_rolled_back(operator: Operator) -> None:
    operator.set(FIRST.replace("3000", "3100"))
    (step, _) = operator.deploy(1)
    assert step.why == "its settings (.env) changed: PORT"
    operator.roll_back()
    assert "PORT=3000" in operator.env.read_text()
    assert operator.world.content("mgmt", "m") == "mgmt-1"
    assert all(step.action == "unchanged" for step in operator.deploy(1))


@pytest.mark.parametrize(
    "line", ["VAULT_KEY=k2:b,k1:a", "DATABASE_URL=postgresql://x/y", "DATA_DIR=/elsewhere"]
)
def test_settings_of_the_data_are_never_taken_back(operator: Operator, line: str) -> None:
    """Else secrets could not be read, or the data of people would be gone."""
    operator.set(f"{FIRST.replace('VAULT_KEY=k1:a', '').replace('old', 'new')}{line}\n")
    operator.deploy(2)
    operator.roll_back()
    assert line in operator.env.read_text()
    assert "SMTP_HOST=old.example" in operator.env.read_text()


def test_settings_that_no_deploy_brought_stay(operator: Operator) -> None:
    operator.deploy(2)
    operator.set(FIRST.replace("old", "newer"))
    operator.roll_back()
    assert operator.env.read_text() == FIRST.replace("old", "newer")
    assert operator.started_with() == operator.component.env_digest()


def test_a_rollback_that_fails_leaves_the_settings(operator: Operator) -> None:
    operator.set(FIRST.replace("old", "new"))
    operator.deploy(2)
    operator.world.broken.add("mgmt-1")
    operator.world.processes[operator.component.path].states.pop(
        operator.component.healthy()[0], None
    )
    with pytest.raises(CommandFailed, match="did not become healthy"):
        operator.roll_back()
    assert operator.env.read_text() == FIRST.replace("old", "new")


def test_a_rollback_that_was_cut_anywhere_takes_the_settings_back_when_repeated() -> None:
    for cut in range(0, 40, 2):
        with stub_world(HOSTS) as world:
            operator = Operator(world)
            operator.set(FIRST)
            operator.deploy(1)
            operator.set(FIRST.replace("old", "new"))
            operator.deploy(2)
            try:
                operator.roll_back(cut=cut)
            except Cut:
                if operator.world.content("mgmt", "m") == "mgmt-1" and not any(
                    world.component(role, host).state()["rollback"]
                    for host, (role,) in HOSTS.items()
                ):
                    continue
                operator.roll_back()
            assert "SMTP_HOST=old.example" in operator.env.read_text()
            assert operator.started_with() == operator.component.env_digest()


def test_what_differs_is_told_by_name_and_not_by_value() -> None:
    before = "# comment\nA=1\nexport B = 'x'\nC=3\n"
    assert differing(before, "A=1\nexport B = 'y'\nD=4\n") == ["B", "C", "D"]
    assert differing(before, before) == []
    assert merged("A=1\nVAULT_KEY=k1:a\nB=1", "VAULT_KEY=k2:b\nA=2\nDATA_DIR=/x") == (
        "A=1\nVAULT_KEY=k2:b\nB=1\nDATA_DIR=/x\n"
    )


def test_a_frozen_component_is_not_deployed_and_says_why(operator: Operator) -> None:
    operator.ask("freeze", "the launch is today", "ada@desk")
    with pytest.raises(CommandFailed, match=r"m: mgmt: frozen by ada@desk at .*: the launch is"):
        operator.deploy(2)
    with pytest.raises(CommandFailed, match=r"`./ocmt unfreeze` ends that"):
        operator.deploy(2, force=True)
    operator.set(FIRST.replace("old", "new"))
    with pytest.raises(CommandFailed, match="frozen by ada@desk"):
        operator.deploy(1)
    assert operator.world.content("mgmt", "m") == "mgmt-1"
    operator.ask("unfreeze")
    operator.deploy(2)
    assert operator.world.content("mgmt", "m") == "mgmt-2"


def test_a_freeze_lets_recoveries_and_rollbacks_pass(operator: Operator) -> None:
    operator.deploy(2)
    operator.ask("freeze", "", "ada@desk")
    assert all(step.action == "unchanged" for step in operator.deploy(2))
    operator.world.processes[operator.component.path].states.clear()  # the machine restarted
    operator.deploy(2)
    assert operator.world.content("mgmt", "m") == "mgmt-2"
    operator.roll_back()
    assert operator.world.content("mgmt", "m") == "mgmt-1"


def test_status_and_journal_tell_of_a_freeze(operator: Operator) -> None:
    operator.ask("freeze", "the launch is today", "ada@desk")
    with operator.world.deployer("mgmt").connections() as connections:
        said = connections["m"].ask("status", "mgmt")
    line = server_line("mgmt", "m", said, now=datetime.now(UTC))
    assert line["state"] == "healthy"
    assert line["frozen"].startswith("frozen by ada@desk at 2")
    begin = '{"at": "t", "step": "freeze", "words": ["the launch", "ada"], "phase": "begin"}'
    (event,) = journal.events([begin])
    assert (event["what"], event["why"]) == ("frozen", "the launch")
