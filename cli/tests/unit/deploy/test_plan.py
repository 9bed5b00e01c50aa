"""What a deploy plans from the hosts' states, and how an ssh failure is reported."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from ocmt_cli.checkout import ROOT
from ocmt_cli.deploy.commands import merged, server_line
from ocmt_cli.deploy.host_failures import Refused, Unreachable, answer_of, explain
from ocmt_cli.deploy.hostside.component import Component
from ocmt_cli.deploy.hostside.logs import logs, timed
from ocmt_cli.deploy.inventory import HostEntry, Inventory, load_inventory
from ocmt_cli.deploy.orchestration import new_release
from ocmt_cli.deploy.plan import choose_rollback, decide, may_run_on, problems

WELL: dict[str, Any] = {
    "current": "R1", "meta": {"content": "same"}, "settings_changed": False, "settled": True,
    "healthy": ["R0", "R1"], "writable": True, "rsync": True, "free_mb": 9000, "time": 1000.0,
    "env_file": True, "systemd": True, "regretted": {},
}  # fmt: skip


@pytest.fixture
def inventory() -> Inventory:
    return load_inventory(ROOT / "deploy" / "ocmt.example.toml")


@pytest.fixture
def host(inventory: Inventory) -> HostEntry:
    return inventory.host("agents-1")


@pytest.mark.parametrize(
    ("change", "action"),
    [
        ({}, "unchanged"),
        ({"current": None, "meta": {}}, "deploy"),
        ({"meta": {"content": "another"}}, "deploy"),
        ({"settings_changed": True}, "deploy"),
        ({"settled": False}, "restart"),
    ],
)
def test_only_what_differs_or_does_not_do_well_is_deployed(
    change: dict[str, Any], action: str
) -> None:
    assert decide("agent", "one", {**WELL, **change}, "same").action == action


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"writable": False}, "deploy may not write below /opt/ocmt/agent-server"),
        ({"rsync": False}, "apt-get install rsync"),
        ({"free_mb": 3}, "only 3 MB are free"),
        ({"time": 1100.0}, "its clock is +100 s off"),
        ({"env_file": False}, "`./ocmt setup agents-1`"),
        ({"systemd": False}, 'supervisor = "pidfile"'),
    ],
)
def test_the_preflight_names_host_and_cure(
    inventory: Inventory, host: HostEntry, change: dict[str, Any], told: str
) -> None:
    (found,) = problems(inventory, host, "agent", {**WELL, **change}, 1000.0)
    assert found.startswith("agents-1: agent: ")
    assert told in found


def test_a_sound_host_has_no_problems(inventory: Inventory, host: HostEntry) -> None:
    assert problems(inventory, host, "agent", WELL, 1000.0) == []


def test_a_rollback_takes_the_last_healthy_release_before_the_current_one() -> None:
    assert choose_rollback(WELL, None) == "R0"
    assert choose_rollback({**WELL, "current": "R2"}, None) == "R1"
    assert choose_rollback(WELL, "R0") == "R0"
    assert choose_rollback(WELL, "R9") is None
    assert choose_rollback({**WELL, "healthy": ["R1"]}, None) is None


def test_an_older_release_runs_on_expanded_tables_and_not_on_contracted_ones() -> None:
    old = {"revisions": ["0001"]}
    assert may_run_on(old, []) is None
    refused = may_run_on(old, ["0002"])
    assert refused is not None
    assert "migration 0002" in refused
    assert may_run_on({"revisions": ["0001", "0002"]}, ["0002"]) is None


def test_a_second_rollback_goes_further_back_and_never_forward_again() -> None:
    # R3 was rolled back to R1, which is thereby the last one that became healthy.
    there = {**WELL, "current": "R1", "healthy": ["R0", "R3", "R1"], "regretted": {"R3": "bad"}}
    assert choose_rollback(there, None) == "R0"
    # What was deployed after that goes back to what it replaced.
    there |= {"current": "R4", "healthy": ["R0", "R3", "R1", "R4"]}
    assert choose_rollback(there, None) == "R1"
    assert choose_rollback({**there, "healthy": ["R3", "R4"]}, None) is None


def test_a_release_has_a_name_that_nothing_has_and_that_sorts_last() -> None:
    now = datetime(2026, 11, 23, 22, 1, 0, tzinfo=UTC)
    commit = "0123456789abcdef"
    assert new_release(commit, now=now, taken=[]) == "20261123T220100Z-0123456789ab"
    # The same second, and a clock that went back: later than what there is all the same.
    for there in ("20261123T220100Z-0123456789ab", "20261123T220500Z-ffffffffffff"):
        assert new_release(commit, now=now, taken=["not-one", there]) > there


def test_a_timer_does_not_undo_a_rollback_and_a_person_may() -> None:
    facts = {**WELL, "regretted": {"R2": "bad"}}
    by_timer = decide("agent", "one", facts, "bad", spare_regretted=True)
    assert (by_timer.action, "rolled back" in by_timer.why) == ("unchanged", True)
    assert decide("agent", "one", facts, "bad").action == "deploy"
    assert decide("agent", "one", facts, "newer", spare_regretted=True).action == "deploy"


def test_the_plan_names_the_migrations() -> None:
    facts = {**WELL, "meta": {"content": "old", "revisions": ["0001"]}}
    assert decide("mgmt", "one", facts, "new", ["0001", "0002"]).migrations == ("0002",)
    assert decide("mgmt", "one", facts, "old", ["0001", "0002"]).migrations == ()


_STATUS: dict[str, Any] = {
    "current": "R1", "ok": True, "settled": True, "settings_changed": False, "degraded": False,
    "running": ["R1"], "last_good": "R1", "answer": "200 {}",
    "certificate": "",
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, "healthy"),
        ({"degraded": True}, "degraded"),
        ({"settled": False, "running": ["R0", "R1"]}, "drifted"),
        ({"settled": False, "ok": False, "running": []}, "NOT HEALTHY"),
        ({"settings_changed": True}, "its settings"),
        ({"current": None, "ok": False, "settled": False}, "nothing is deployed"),
    ],
)
def test_status_tells_what_is_amiss(change: dict[str, Any], told: str) -> None:
    line = server_line("mgmt", "one", {**_STATUS, **change}, now=datetime.now(UTC))
    assert line["state"].startswith(told)
    assert line["drift"] is ("settled" in change)


def test_logs_are_merged_by_time_and_what_has_none_stays_with_its_line() -> None:
    one = timed(['{"timestamp": "T1", "event": "a"}', "Traceback", '{"timestamp": "T3"}'])
    two = timed(['{"timestamp": "T2"}'])
    lines = merged({("mgmt", "h1"): {"lines": one}, ("agent", "h2"): {"lines": two}})
    assert [line.split(" ", 2)[2][:14] for line in lines] == [
        '{"timestamp": ', "Traceback", '{"timestamp": ', '{"timestamp": ',
    ]  # fmt: skip
    assert [line.split()[0] for line in lines] == ["h1", "h1", "h2", "h1"]


def test_the_log_of_a_file_is_followed_from_where_it_was(tmp_path: Path) -> None:
    component = Component("mgmt", tmp_path, "pidfile", {}, 1, 1, 1, 2)
    (tmp_path / "log").mkdir()
    file = tmp_path / "log" / "20261123T220100Z-a.log"
    # The same line twice is two lines; half a line is none yet.
    file.write_text("same\nsame\nhal")
    first = logs(component, 100, "")
    assert [line["text"] for line in first["lines"]] == ["same", "same"]
    with file.open("a") as log:
        log.write("f\nid-1 x\n")
    then = logs(component, 1, "", first["after"])
    assert [line["text"] for line in then["lines"]] == ["half", "id-1 x"]
    assert [line["text"] for line in logs(component, 100, "id-1")["lines"]] == ["id-1 x"]


@pytest.mark.parametrize(
    ("stderr", "code", "kind", "told"),
    [
        ("@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @", 255, Refused, "ssh-keygen -R"),
        (
            "No ED25519 host key is known for 203.0.113.11 and you have requested strict checking.",
            255,
            Refused,
            "ssh-keyscan -p 22",
        ),
        (
            "No RSA host key is known for jump.example and you have requested strict checking.",
            255,
            Refused,
            "ssh jump.example",
        ),
        ("WARNING: UNPROTECTED PRIVATE KEY FILE!\nPermission denied (", 255, Refused, "chmod 600"),
        ("Unable to negotiate with x: no matching host key type", 255, Refused, "no algorithm"),
        ("/etc/ssh/ssh_config line 3: Bad configuration option: x", 255, Refused, "~/.ssh/config"),
        ("Bad owner or permissions on /srv/ops/.ssh/config", 255, Refused, "~/.ssh/config"),
        ("something nobody has heard of", 255, Unreachable, "ssh -p 22 deploy@203.0.113.11"),
        ("protocol version mismatch -- is your shell clean?", 2, Refused, "login shell"),
        ("", 255, Unreachable, "the connection was lost"),
        ("deploy@x: Permission denied (publickey).", 255, Refused, "authorized_keys"),
        ("sudo: a password is required", 1, Refused, "NOPASSWD"),
        ("bash: rsync: command not found", 127, Refused, "apt-get install rsync"),
        ("write failed: No space left on device (28)", 11, Refused, "the disk is full"),
        ("ssh: Could not resolve hostname x: Name", 255, Unreachable, "does not resolve"),
        ("connect to host x port 22: Connection refused", 255, Unreachable, "does not answer"),
        ("Timeout, server x not responding.", 255, Unreachable, "the connection was lost"),
    ],
)
def test_each_failure_of_ssh_is_told_with_host_step_and_cure(
    inventory: Inventory, host: HostEntry, *, stderr: str, code: int, kind: type, told: str
) -> None:
    failure = explain(host, inventory.deploy, code=code, stderr=stderr, step="agent: copy")
    assert isinstance(failure, kind)
    assert str(failure).startswith("agents-1: agent: copy: ")
    assert told in str(failure)


@pytest.mark.parametrize(
    "printed",
    [
        'Welcome to mgmt!\n{"value": 1}\n',
        "This account is managed\n",
        "5\n",
        "null",
        '"failed"',
        "\n\n  \x1b[2J hello",
        "",
    ],
)
def test_what_is_no_answer_of_ours_is_told_with_the_host_and_the_cure(printed: str) -> None:
    with pytest.raises(Refused, match=r"one: mgmt: status: its login shell.*\[ -t 1 \]"):
        answer_of("one", "mgmt: status", printed)


def test_an_answer_of_ours_is_read() -> None:
    assert answer_of("one", "mgmt: status", '{"value": [1]}\n') == {"value": [1]}
