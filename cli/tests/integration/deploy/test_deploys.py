"""Deploys of the real servers to real sshd hosts: which release serves, what is kept, what is
printed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from ocmt_cli.deploy.deployer import Deployer
from ocmt_cli.deploy.host_connection import Busy
from ocmt_cli.deploy.host_failures import Unreachable
from ocmt_cli.deploy.inventory import Role, load_inventory
from ocmt_cli.deploy.orchestration import deploy, plan
from ocmt_cli.deploy.server_status import show_servers
from ocmt_cli.deploy.source import read_source
from ocmt_cli.failure import CommandFailed
from ocmt_testing.deploy.farm import BUILDS, Commit, Farm, deployer, farm, roll_back
from ocmt_testing.deploy.load import Chats, Load, ModelCalls, Person

MGMT_FILE = "management-server/ocmt_management/__init__.py"
AGENT_FILE = "agent-server/ocmt_agent/__init__.py"


def _deploy(farm: Farm, checkout: Path, *roles: Role) -> dict[str, str]:
    """What the deploy did for each component."""
    made = deployer(farm, *roles)
    # Each test's commits are undone, so the next test's commit may be an older one.
    done = deploy(made, read_source(checkout), builds=BUILDS, force=True)
    return {step.role: step.action for step in done}


def test_the_first_deploy_serves_and_a_second_one_changes_nothing(
    deployed: Farm, checkout: Path
) -> None:
    settings = (deployed.component("mgmt") / ".env").read_text()
    before = deployed.serving("mgmt"), deployed.serving("agent")

    done = _deploy(deployed, checkout)

    assert done == {"mgmt": "unchanged", "agent": "unchanged", "ui": "unchanged"}
    assert (deployed.serving("mgmt"), deployed.serving("agent")) == before
    assert (deployed.component("mgmt") / ".env").read_text() == settings
    assert (deployed.component("ui") / "current" / "index.html").is_file()
    version = (deployed.component("ui") / "current" / "version.txt").read_text().strip()
    tags = subprocess.run(
        ["git", "-C", str(checkout), "tag", "--list", "deploy/*"],
        check=True, capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    assert {f"deploy/mgmt/{before[0]}", f"deploy/ui/{version}"} <= set(tags)


def test_the_plan_tells_what_a_deploy_then_does(
    deployed: Farm, checkout: Path, commit: Commit
) -> None:
    _deploy(deployed, checkout, "mgmt", "ui")  # nothing to do, unless a test before failed
    commit("user-ui/index.html", "<title>", "<title>Planned ")
    made = deployer(deployed)

    with made.connections() as connections:
        steps = plan(made, read_source(checkout), connections)

    told = {step.role: step.action for step in steps}
    assert (told["mgmt"], told["ui"]) == ("unchanged", "deploy")
    done = _deploy(deployed, checkout, "mgmt", "ui")
    assert done == {"mgmt": "unchanged", "ui": "deploy"}
    page = (deployed.component("ui") / "current" / "index.html").read_text()
    assert "<title>Planned " in page


def test_servers_that_ended_are_started_again_and_nothing_else_is_done(
    deployed: Farm, checkout: Path
) -> None:
    _deploy(deployed, checkout, "mgmt", "agent")
    before = {role: deployed.serving(role) for role in ("mgmt", "agent")}
    for role, release in before.items():
        note = json.loads((deployed.component(role) / "run" / f"{release}.pid").read_text())
        os.kill(note["pid"], signal.SIGKILL)

    # Also a plan says so, and a status.
    made = deployer(deployed, "mgmt", "agent")
    with made.connections() as connections:
        told = plan(made, read_source(checkout), connections)
    assert {step.action for step in told} == {"restart"}
    assert _deploy(deployed, checkout, "mgmt", "agent") == {
        "mgmt": "unchanged",
        "agent": "unchanged",
    }
    assert {role: deployed.serving(role) for role in ("mgmt", "agent")} == before


def test_status_shows_the_others_when_one_host_does_not_answer(
    deployed: Farm, checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deployed.machines["ui"].stop()
    try:
        assert show_servers(deployed.inventory, as_json=True) is False
    finally:
        deployed.machines["ui"].start()
    told = {one["component"]: one for one in json.loads(capsys.readouterr().out)}
    assert told["ui"]["state"] == "NOT REACHABLE"
    assert "does not answer" in told["ui"]["answer"]
    assert told["mgmt"]["running"] == [deployed.serving("mgmt")]
    assert told["mgmt"]["drift"] is False
    assert show_servers(deployed.inventory, as_json=True) is True


def test_nothing_fails_in_a_deploy_and_a_rollback_under_load_and_the_agent_goes_on(
    deployed: Farm, checkout: Path, commit: Commit, person: Person
) -> None:
    before = {role: deployed.serving(role) for role in ("mgmt", "agent")}
    agent = person.gateway_pid()
    for file in (MGMT_FILE, AGENT_FILE):
        commit(file, '"""', '"""A changed line. ')

    with (
        Load(*deployed.urls) as load,
        Chats(person) as chats,
        ModelCalls(deployed, person.agent_token()) as calls,
    ):
        done = _deploy(deployed, checkout, "mgmt", "agent")
        during = {role: deployed.serving(role) for role in ("mgmt", "agent")}
        roll_back(deployed, "mgmt", "agent")
        after = {role: deployed.serving(role) for role in ("mgmt", "agent")}

    assert done == {"mgmt": "deploy", "agent": "deploy"}
    assert after == before
    assert (load.failures, chats.failures, calls.failures) == ([], [], [])
    assert load.versions == {*before.values(), *during.values()}
    assert min(load.count, chats.turns, calls.count) > 30
    # Every tab was told to connect again, by the deploy and by the rollback.
    assert chats.restarts >= 8
    assert person.gateway_pid() == agent


def test_a_release_that_never_gets_healthy_leaves_the_old_one_serving(
    deployed: Farm, checkout: Path, commit: Commit
) -> None:
    before = {role: deployed.serving(role) for role in ("mgmt", "agent")}
    commit(AGENT_FILE, '"""', 'raise SystemExit("broken on purpose")\n"""')
    commit("user-ui/index.html", "<title>", "<title>Never reached ")
    page = (deployed.component("ui") / "current").readlink()

    with Load(*deployed.urls) as load, pytest.raises(CommandFailed) as failed:
        _deploy(deployed, checkout)

    assert "agent: agent: start:" in str(failed.value)
    assert "broken on purpose" in str(failed.value)
    assert {role: deployed.serving(role) for role in ("mgmt", "agent")} == before
    assert (deployed.component("ui") / "current").readlink() == page
    assert load.failures == []


def test_rollback_works_when_what_is_current_cannot_even_start(
    deployed: Farm, checkout: Path, commit: Commit
) -> None:
    before = deployed.serving("agent")
    commit(AGENT_FILE, '"""', '"""A line that will be regretted. ')
    assert _deploy(deployed, checkout, "agent") == {"agent": "deploy"}
    current = deployed.component("agent") / "current"
    (current / "venv" / "bin" / "python").unlink()
    note = deployed.component("agent") / "run" / f"{current.readlink().name}.pid"
    os.kill(int(note.read_text().split(":")[1].split(",")[0]), signal.SIGKILL)

    roll_back(deployed, "agent")

    assert deployed.serving("agent") == before


_KILLED = """
import json, os, signal, sys
from pathlib import Path
from ocmt_testing.deploy.farm import BUILDS
from ocmt_cli.deploy import orchestration
from ocmt_cli.deploy.deployer import Deployer
from ocmt_cli.deploy.inventory import load_inventory
from ocmt_cli.deploy.host_connection import HostConnection
from ocmt_cli.deploy.source import read_source

role, when, step = sys.argv[3:6]
asked = HostConnection.ask

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def ask(self, name, *words, **more):
    if (when, name) == ("in", step):
        # Asked for, and gone before the answer: the host does it, or is cut in it.
        process = self._process
        component = component_on_host(self, words[0])
        request = {"step": name, "component": component, "words": words[1:], **more}
        process.stdin.write(json.dumps(request).encode() + b"\\n")
        process.stdin.flush()
        die()
    value = asked(self, name, *words, **more)
    if (when, name) == ("after", step):
        die()
    return value

def component_on_host(connection, role):
    from ocmt_cli.deploy.host_connection import component_on
    return component_on(connection._inventory, connection.entry, role)

HostConnection.ask = ask
orchestration.deploy(
    Deployer(load_inventory(Path(sys.argv[1])), (role,), lambda text: None),
    read_source(Path(sys.argv[2])), builds=BUILDS,
)
"""
_ROLES = {
    "mgmt": ("lock", "prepare", "install", "migrate", "start", "switch", "settle"),
    "agent": ("lock", "prepare", "install", "start", "switch", "settle"),
    "ui": ("lock", "prepare", "install", "switch", "settle"),
}
# Cut off in the middle, where something is replaced.
_IN = {("mgmt", "start"), ("mgmt", "switch"), ("mgmt", "settle"), ("agent", "switch")}
_EVERY_CUT = {
    role: [
        (when, step)
        for step in steps
        for when in (("in", "after") if (role, step) in _IN else ("after",))
    ]
    for role, steps in _ROLES.items()
}
_SOME_CUTS = {
    "mgmt": [("in", "start")],
    "agent": [("in", "switch")],
    "ui": [("after", "switch")],
}
_CHANGED = {"mgmt": MGMT_FILE, "agent": AGENT_FILE, "ui": "user-ui/index.html"}


@pytest.mark.timeout(2400)
@pytest.mark.parametrize("role", _ROLES)
@pytest.mark.parametrize(
    "cuts",
    [_SOME_CUTS, pytest.param(_EVERY_CUT, marks=pytest.mark.nightly)],
    ids=["some", "every"],
)
def test_a_deployer_killed_in_and_after_each_step_leaves_what_the_next_one_completes(
    deployed: Farm,
    checkout: Path,
    commit: Commit,
    person: Person,
    role: Role,
    cuts: dict[str, list[tuple[str, str]]],
) -> None:
    agent = person.gateway_pid()
    mark = "<title>" if role == "ui" else '"""'
    with Load(*deployed.urls) as load, Chats(person, 2) as chats:
        for when, step in cuts[role]:
            commit(_CHANGED[role], mark, f"{mark}Killed {when} {step}. ")
            words = [str(deployed.inventory), str(checkout), role, when, step]
            killed = subprocess.run(
                [sys.executable, "-c", _KILLED, *words],
                check=False, capture_output=True, timeout=600,
            )  # fmt: skip
            assert killed.returncode == -signal.SIGKILL, (words, killed.stderr.decode())

            _deploy_when_free(deployed, checkout, role)

            wanted = read_source(checkout).commit[:12]
            current = (deployed.component(role) / "current").readlink().name
            assert current.endswith(wanted), words
            assert (role == "ui") or deployed.serving(role) == current, words
            tags = _git(checkout, "tag", "--list", f"deploy/{role}/*").split()
            assert f"deploy/{role}/{current}" in tags, words
        assert _deploy(deployed, checkout, role) == {role: "unchanged"}

    assert (load.failures, chats.failures) == ([], [])
    assert person.gateway_pid() == agent
    kept = list((deployed.component(role) / "releases").iterdir())
    assert len(kept) <= 3


def _git(checkout: Path, *words: str) -> str:
    command = ["git", "-C", str(checkout), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _deploy_when_free(farm: Farm, checkout: Path, role: Role) -> None:
    """The host's side of a killed deploy may still be finishing its last step."""
    _when_free(lambda: _deploy(farm, checkout, role))
    # A deploy that finds all in order takes no lock; the next deploy has to get it.
    _when_free(lambda: _lock(farm, role))


def _lock(farm: Farm, role: Role) -> None:
    """Take the component's lock and release it."""
    with deployer(farm, role).connections() as connections:
        connections[role].lock(role, what="a look")


def _when_free(do: Callable[[], object]) -> None:
    limit = time.monotonic() + 300
    while True:
        try:
            do()
            return
        except Busy:
            assert time.monotonic() < limit, "the lock of a killed deployer was never given back"
            time.sleep(0.1)


def test_a_connection_dropped_in_a_step_is_told_and_the_next_run_completes(
    deployed: Farm, checkout: Path, commit: Commit
) -> None:
    commit(AGENT_FILE, '"""', '"""Deployed at the second try. ')

    def drop(text: str) -> None:
        if text.endswith(": install"):
            deployed.machines["agent"].drop_connections()

    made = deployer(deployed, "agent", report=drop)
    with pytest.raises(Unreachable, match="agent: agent: install: the connection was lost"):
        deploy(made, read_source(checkout), builds=BUILDS)

    _deploy_when_free(deployed, checkout, "agent")
    assert deployed.serving("agent").endswith(read_source(checkout).commit[:12])


def test_a_migration_that_fails_is_told_and_nothing_is_switched(
    deployed: Farm, checkout: Path, commit: Commit
) -> None:
    before = deployed.serving("mgmt")
    commit(
        "management-server/ocmt_management/migrations/versions/0001_the_first_tables.py",
        'revision = "0001"',
        'raise OSError("this migration is broken on purpose")\nrevision = "0001"',
    )

    with pytest.raises(CommandFailed) as failed:
        _deploy(deployed, checkout, "mgmt")

    assert "mgmt: mgmt: migrate: the migration failed; nothing was switched" in str(failed.value)
    assert "broken on purpose" in str(failed.value)
    assert deployed.serving("mgmt") == before


def test_two_deployers_do_not_meet(deployed: Farm, checkout: Path, commit: Commit) -> None:
    commit(AGENT_FILE, '"""', '"""Wanted by two. ')
    first = deployer(deployed, "agent")
    with first.connections() as connections:
        connections["agent"].lock("agent", what="deploy of the first")

        with pytest.raises(Busy, match="deploy of the first"):
            _deploy(deployed, checkout, "agent")


def test_a_changed_host_key_is_told_and_nothing_is_done(deployed: Farm, checkout: Path) -> None:
    machine = deployed.machines["ui"]
    machine.stop()
    machine.new_host_key()
    machine.start()
    try:
        with pytest.raises(CommandFailed) as failed:
            _deploy(deployed, checkout)
    finally:
        deployed.known_hosts()

    assert "ui: ui: facts: the host key of 127.0.0.1 differs from" in str(failed.value)
    assert "ssh-keygen -R" in str(failed.value)


def test_a_dirty_tree_is_refused(checkout: Path) -> None:
    file = checkout / MGMT_FILE
    text = file.read_text()
    file.write_text(text + "# not committed\n")
    try:
        with pytest.raises(CommandFailed, match="uncommitted changes"):
            read_source(checkout)
    finally:
        file.write_text(text)


def test_a_setting_that_was_changed_is_in_force_after_the_next_deploy(
    deployed: Farm, checkout: Path
) -> None:
    env_file = deployed.component("agent") / ".env"
    settings = env_file.read_text()
    before = deployed.serving("agent")
    env_file.write_text(settings + "PAUSE_AFTER_MS=1234567\n")
    try:
        assert _deploy(deployed, checkout, "agent") == {"agent": "deploy"}
        assert deployed.serving("agent") != before
        assert _deploy(deployed, checkout, "agent") == {"agent": "unchanged"}
        assert env_file.read_text() == settings + "PAUSE_AFTER_MS=1234567\n"
    finally:
        env_file.write_text(settings)
    assert _deploy(deployed, checkout, "agent") == {"agent": "deploy"}


def test_what_was_rolled_back_is_not_brought_again_by_a_server_that_pulls(
    deployed: Farm, checkout: Path, commit: Commit
) -> None:
    _deploy(deployed, checkout, "agent")
    before = deployed.serving("agent")
    # Many commits, one deploy: a rollback goes to the last deploy, not to the last commit.
    for number in range(3):
        commit(AGENT_FILE, '"""', f'"""Regretted {number}. ')
    assert _deploy(deployed, checkout, "agent") == {"agent": "deploy"}
    roll_back(deployed, "agent")
    assert deployed.serving("agent") == before

    timer = Deployer(load_inventory(deployed.inventory), ("agent",), print, local="agent")
    (step,) = deploy(timer, read_source(checkout), builds=BUILDS)
    assert (step.action, deployed.serving("agent")) == ("unchanged", before)

    commit(AGENT_FILE, '"""', '"""Mended. ')
    (step,) = deploy(timer, read_source(checkout), builds=BUILDS)
    assert step.action == "deploy"
    assert deployed.serving("agent").endswith(read_source(checkout).commit[:12])


def test_a_full_disk_is_told_and_the_old_page_stays_until_there_is_room(
    checkout: Path, commit: Commit
) -> None:
    with farm() as made:
        root = made.machines["ui"].root
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", root], check=True)
        try:
            assert _deploy(made, checkout, "ui") == {"ui": "deploy"}
            page = (made.component("ui") / "current").readlink()
            commit("user-ui/index.html", "<title>", "<title>No room ")
            subprocess.run(["dd", "if=/dev/zero", f"of={root}/filler"], check=False)
            for least in (1, 0):  # seen in the preflight, or only while copying
                text = made.inventory.read_text()
                made.inventory.write_text(
                    re.sub(r"min_free_mb = .", f"min_free_mb = {least}", text)
                )
                with pytest.raises(CommandFailed, match=r"ui: ui: .*(are free|disk is full)"):
                    _deploy(made, checkout, "ui")
                assert (made.component("ui") / "current").readlink() == page
            (root / "filler").unlink()
            assert _deploy(made, checkout, "ui") == {"ui": "deploy"}
            assert "No room" in (made.component("ui") / "current" / "index.html").read_text()
        finally:
            subprocess.run(["umount", "--lazy", root], check=True)
