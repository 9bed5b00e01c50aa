"""A component on several hosts: a canary, then several at once; and commands for some hosts."""

import re
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ocmt_cli.deploy import orchestration
from ocmt_cli.deploy.host_failures import HostFailed
from ocmt_cli.deploy.inventory import Role
from ocmt_cli.deploy.orchestration import deploy, plan
from ocmt_cli.deploy.rollback import rollback
from ocmt_cli.failure import CommandFailed
from ocmt_testing.deploy.stub_hosts import StubSource, World, stub_world

HOSTS: Mapping[str, tuple[Role, ...]] = {f"u{number}": ("ui",) for number in range(1, 6)}


@pytest.fixture
def world() -> Iterator[World]:
    with stub_world(HOSTS, hosts_at_once=5) as made:
        yield made


def bring(world: World, number: int, *limit: str) -> None:
    source = StubSource(world.folder, f"{number:012d}", (("ui", f"ui-{number}"),))
    deploy(world.deployer("ui", limit=limit), source, builds=world.folder)


def serves(world: World) -> list[str | None]:
    return [world.content("ui", host) for host in HOSTS]


def test_the_first_host_serves_before_the_others_begin_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = threading.Barrier(4, timeout=20)
    seen: list[str] = []
    real = orchestration.send_and_switch

    def send(deployer: Any, connection: Any, **more: Any) -> None:
        if connection.entry.name != "u1":
            assert "u1" in seen
            together.wait()  # the four others are in here together
        real(deployer, connection, **more)
        seen.append(connection.entry.name)

    monkeypatch.setattr(orchestration, "send_and_switch", send)
    bring(world, 1)
    assert serves(world) == ["ui-1"] * 5
    assert len(world.tags) == 1


@pytest.mark.parametrize(
    ("at_once", "broken", "reached"),
    [(5, "u1", []), (2, "u3", ["u1", "u2"]), (5, "u3", ["u1", "u2", "u4", "u5"])],
)
def test_after_a_failure_no_further_host_begins_and_those_that_began_end(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    at_once: int,
    broken: str,
    reached: list[str],
) -> None:
    policy = world.inventory.deploy.model_copy(update={"hosts_at_once": at_once})
    world.inventory = world.inventory.model_copy(update={"deploy": policy})
    bring(world, 1)
    real = orchestration.send_and_switch

    def send(deployer: Any, connection: Any, **more: Any) -> None:
        if connection.entry.name == broken:
            raise HostFailed(broken, "ui: copy", "the disk is full")
        real(deployer, connection, **more)

    with monkeypatch.context() as patch:
        patch.setattr(orchestration, "send_and_switch", send)
        with pytest.raises(CommandFailed, match=f"^{broken}: ui: copy: the disk is full"):
            bring(world, 2)
    assert [host for host in HOSTS if world.content("ui", host) == "ui-2"] == reached
    assert len(world.tags) == 1
    if reached:
        assert f"the hosts differ: {', '.join(reached)} serve" in world.reported[-1]
    bring(world, 2)
    assert serves(world) == ["ui-2"] * 5
    rollback(world.deployer("ui"), to=None, why="", tag=lambda *_: None)
    assert serves(world) == ["ui-1"] * 5


@pytest.mark.parametrize(
    ("limit", "reached"),
    [
        (["u2"], ["u2"]),
        (["u2", "u4"], ["u2", "u4"]),
        (["u[12]"], ["u1", "u2"]),
        (["*"], list(HOSTS)),
    ],
)
def test_a_deploy_and_a_rollback_for_some_hosts(
    world: World, limit: list[str], reached: list[str]
) -> None:
    bring(world, 1)
    tagged = len(world.tags)
    bring(world, 2, *limit)
    assert [host for host in HOSTS if world.content("ui", host) == "ui-2"] == reached
    whole = len(reached) == len(HOSTS)
    assert (len(world.tags) > tagged) is whole  # else git would say that all serve it
    bring(world, 2, *limit)  # unchanged
    assert (len(world.tags) > tagged) is whole

    reasons: list[str] = []
    rollback(
        world.deployer("ui", limit=limit),
        to=None,
        why="no",
        tag=lambda *one: reasons.append(one[2]),
    )
    assert serves(world) == ["ui-1"] * 5
    assert reasons == (["no"] if whole else [])


def test_the_other_hosts_get_the_release_of_those_that_have_it(world: World) -> None:
    bring(world, 1)
    bring(world, 2, "u1")
    bring(world, 2)
    assert len({world.component("ui", host).current for host in HOSTS}) == 1
    assert len(world.tags) == 2


@pytest.mark.parametrize(
    ("limit", "told"),
    [("u9", "has no host u9. It has: u1, u2"), ("x*", "has no host x*"), ("", "has no host ")],
)
def test_a_host_that_the_inventory_lacks_is_refused(world: World, limit: str, told: str) -> None:
    with pytest.raises(CommandFailed, match=re.escape(told)) as refused:
        world.deployer("ui", limit=[limit]).targets()
    assert refused.value.exit_code == 2


def test_a_host_without_the_component_is_refused(world: World) -> None:
    with pytest.raises(CommandFailed, match="None of the hosts u1 has the role mgmt"):
        world.deployer("mgmt", limit=["u1"]).targets()


def test_each_host_says_how_long_its_steps_took(world: World) -> None:
    bring(world, 1)
    said = [line for line in world.reported if " serves, after " in line]
    assert len(said) == 5
    assert re.search(
        r"^u1: ui: 2.* serves, after [\d.]+ s \(copy [\d.]+, install [\d.]+, switch [\d.]+, "
        r"settle [\d.]+\)$",
        said[0],
    )


def test_the_plan_has_the_commits_between_what_runs_and_what_comes(world: World) -> None:
    bring(world, 1)
    source = StubSource(world.folder, f"{2:012d}", (("ui", "ui-2"),))
    deployer = world.deployer("ui")
    with deployer.connections() as connections:
        steps = plan(deployer, source, connections)
    assert [step.commits for step in steps] == [(f"{2:012d} After {1:012d}",)] * 5
    bring(world, 2)
    with deployer.connections() as connections:
        assert [step.commits for step in plan(deployer, source, connections)] == [()] * 5


HOOK = """\
#!/bin/sh
said="$OCMT_COMMAND $OCMT_COMPONENTS $OCMT_HOSTS $OCMT_COMMIT$OCMT_MESSAGE"
echo "$(basename "$0") $said" >> {log}
echo "it says so"
exit {code}
"""


def _hooks(world: World, **codes: int) -> Path:
    folder = world.folder / "hooks"
    folder.mkdir(exist_ok=True)
    for name, code in codes.items():
        file = folder / f"{name}-deploy"
        file.write_text(HOOK.format(log=world.folder / "hooks.log", code=code))
        file.chmod(0o755)
    return world.folder / "hooks.log"


def test_hooks_run_before_and_after_a_deploy_and_a_rollback(world: World) -> None:
    log = _hooks(world, pre=0, post=0)
    bring(world, 1)
    bring(world, 1)  # changes nothing, so none runs
    bring(world, 2, "u1")
    rollback(world.deployer("ui", limit=["u1"]), to=None, why="slow", tag=lambda *_: None)
    one, two = f"{1:012d}", f"{2:012d}"
    assert log.read_text().splitlines() == [
        f"pre-deploy deploy ui u1,u2,u3,u4,u5 {one}",
        f"post-deploy deploy ui u1,u2,u3,u4,u5 {one}",
        f"pre-deploy deploy ui u1 {two}",
        f"post-deploy deploy ui u1 {two}",
        "pre-deploy rollback ui u1 slow",
        "post-deploy rollback ui u1 slow",
    ]
    assert "  it says so" in world.reported


def test_a_hook_that_fails_before_changes_nothing(world: World) -> None:
    bring(world, 1)
    _hooks(world, pre=4)
    with pytest.raises(CommandFailed, match="Nothing was changed: hooks/pre-deploy ended with ex"):
        bring(world, 2)
    assert serves(world) == ["ui-1"] * 5


def test_a_hook_that_fails_after_is_told_and_the_deploy_stays(world: World) -> None:
    _hooks(world, post=1)
    with pytest.raises(CommandFailed, match="The deploy is complete, but hooks/post-deploy ended"):
        bring(world, 1)
    assert serves(world) == ["ui-1"] * 5
    assert len(world.tags) == 1


@pytest.mark.parametrize(("text", "mode"), [("#!/bin/sh\n", 0o644), ("#!/no/such\n", 0o755)])
def test_a_hook_that_cannot_run_is_told_with_the_cure(world: World, text: str, mode: int) -> None:
    _hooks(world)
    file = world.folder / "hooks" / "pre-deploy"
    file.write_text(text)
    file.chmod(mode)
    with pytest.raises(CommandFailed, match="must be executable and begin with"):
        bring(world, 1)
    assert serves(world) == [None] * 5
