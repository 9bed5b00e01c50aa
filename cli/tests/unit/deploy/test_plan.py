"""What a deploy decides from what hosts say, and how a failure of ssh is told."""

from typing import Any

import pytest
from ocmt_cli.checkout import ROOT
from ocmt_cli.deploy.host_failures import Refused, Unreachable, explain
from ocmt_cli.deploy.inventory import HostEntry, Inventory, load_inventory
from ocmt_cli.deploy.plan import choose_rollback, decide, may_run_on, problems

WELL: dict[str, Any] = {
    "current": "R1", "meta": {"content": "same"}, "settings_changed": False, "settled": True,
    "healthy": ["R0", "R1"], "writable": True, "rsync": True, "free_mb": 9000, "time": 1000.0,
    "env_file": True, "systemd": True,
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
        ({"env_file": False}, "`ocmt setup agents-1`"),
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
    assert may_run_on(old, {"revisions": ["0001", "0002"], "contracts": []}) is None
    refused = may_run_on(old, {"revisions": ["0001", "0002"], "contracts": ["0002"]})
    assert refused is not None
    assert "migration 0002" in refused
    assert may_run_on({"revisions": ["0001", "0002"]}, {"contracts": ["0002"]}) is None


@pytest.mark.parametrize(
    ("stderr", "code", "kind", "told"),
    [
        ("@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @", 255, Refused, "ssh-keygen -R"),
        ("No ED25519 host key is known for x and you have", 255, Refused, "ssh-keyscan -p 22"),
        ("deploy@x: Permission denied (publickey).", 255, Refused, "authorized_keys"),
        ("sudo: a password is required", 1, Refused, "NOPASSWD"),
        ("bash: rsync: command not found", 127, Refused, "apt-get install rsync"),
        ("write failed: No space left on device (28)", 11, Refused, "the disk is full"),
        ("ssh: Could not resolve hostname x: Name", 255, Unreachable, "there is no machine"),
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
