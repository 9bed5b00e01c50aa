"""What a deploy plans from the hosts' states, and how an ssh failure is reported."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from ocmt_cli.checkout import ROOT
from ocmt_cli.deploy.commands import What
from ocmt_cli.deploy.deadlines import deadline_s
from ocmt_cli.deploy.host_failures import Refused, Unreachable, answer_of, explain
from ocmt_cli.deploy.hostside import server
from ocmt_cli.deploy.hostside.component import Component
from ocmt_cli.deploy.hostside.logs import logs, timed
from ocmt_cli.deploy.inventory import HostEntry, Inventory, Role, load_inventory
from ocmt_cli.deploy.logs_command import begin_of, logs_command, merged
from ocmt_cli.deploy.plan import decide, may_run_on, problems
from ocmt_cli.deploy.release_tags import new_release
from ocmt_cli.deploy.server_status import differences, server_line
from ocmt_cli.failure import CommandFailed

WELL: dict[str, Any] = {
    "current": "R1", "meta": {"content": "same"}, "settings_changed": False, "settled": True,
    "healthy": ["R0", "R1"], "writable": True, "rsync": True, "free_mb": 9000, "time": 1000.0,
    "env_file": True, "systemd": True, "regretted": {}, "rollback": None, "rolled_back": None,
    "restore": None, "current_is_folder": False, "changed_settings": [], "frozen": None,
    "obstacles": [],
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
        ({"time": 1100.0}, "its clock and this machine's differ by +100 s"),
        ({"time": 900.0}, "its clock and this machine's differ by -100 s"),
        ({"time": 4.1e9}, "turn on time synchronisation where it is wrong"),
        ({"obstacles": ["/opt/x/releases"]}, "/opt/x/releases is a file, folder or broken link"),
        ({"env_file": False}, "`./ocmt setup agents-1`"),
        ({"current_is_folder": True}, "/opt/ocmt/agent-server/current is not a link to a release"),
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


def test_an_older_release_runs_on_expanded_tables_and_not_on_contracted_ones() -> None:
    old = {"revisions": ["0001"]}
    assert may_run_on(old, []) is None
    refused = may_run_on(old, ["0002"])
    assert refused is not None
    assert "migration 0002" in refused
    assert may_run_on({"revisions": ["0001", "0002"]}, ["0002"]) is None


def test_a_release_has_a_name_that_nothing_has_and_that_sorts_last() -> None:
    now = datetime(2026, 11, 23, 22, 1, 0, tzinfo=UTC)
    commit = "0123456789abcdef"
    assert new_release(commit, now=now, taken=[]) == "20261123T220100Z-0123456789ab"
    # The same second, and a clock that went back: later than what there is all the same.
    for there in ("20261123T220100Z-0123456789ab", "20261123T220500Z-ffffffffffff"):
        assert new_release(commit, now=now, taken=["not-one", there]) > there


@pytest.mark.parametrize(
    ("why", "told"),
    [
        ("", "rolled back to R1; deploy a newer commit"),
        ("it leaks", "rolled back to R1 (it leaks)"),
    ],
)
def test_what_was_rolled_back_is_deployed_again_only_with_force(why: str, told: str) -> None:
    facts = {**WELL, "regretted": {"R2": "bad"}, "rolled_back": {"to": "R1", "why": why}}
    again = decide("agent", "one", facts, "bad")
    assert (again.action, told in again.why) == ("unchanged", True)
    assert decide("agent", "one", facts, "bad", force=True).action == "deploy"
    assert decide("agent", "one", facts, "newer").action == "deploy"
    changed = decide("agent", "one", {**facts, "settings_changed": True}, "bad")
    assert "to apply the changed settings (.env), check out R1" in changed.why
    # Not brought back either while the one that serves is unwell.
    assert decide("agent", "one", {**facts, "settled": False}, "bad").action == "restart"


@pytest.mark.parametrize("content", ["same", "bad"])
def test_an_unfinished_rollback_is_finished_before_anything_else(content: str) -> None:
    facts = {**WELL, "settled": False, "rollback": PENDING}
    step = decide("agent", "one", facts, content)
    assert (step.action, "R2 to R1 is unfinished" in step.why) == ("restart", True)


def test_an_older_commit_is_deployed_only_with_force_and_the_plan_says_so() -> None:
    step = decide("agent", "one", WELL, "old", age="older")
    assert (step.action, "OLDER than that of R1" in step.why) == ("refused", True)
    assert "rollback" in step.why
    step = decide("agent", "one", WELL, "old", age="older", force=True)
    assert (step.action, "OLDER than that of R1" in step.why) == ("deploy", True)
    # The same content is no step back.
    assert decide("agent", "one", WELL, "same", age="older").action == "unchanged"


def test_a_commit_that_the_checkout_lacks_is_told() -> None:
    assert "not in this checkout" in decide("agent", "one", WELL, "new", age="unknown").why


def test_the_plan_names_the_migrations() -> None:
    facts = {**WELL, "meta": {"content": "old", "revisions": ["0001"]}}
    assert decide("mgmt", "one", facts, "new", ["0001", "0002"]).migrations == ("0002",)
    assert decide("mgmt", "one", facts, "old", ["0001", "0002"]).migrations == ()


PENDING = {"from": "R2", "to": "R1", "content": "bad", "who": "ada", "at": "T", "why": ""}
_STATUS: dict[str, Any] = {
    "current": "R1", "ok": True, "settled": True, "settings_changed": False, "degraded": False,
    "running": ["R1"], "last_good": "R1", "answer": "200 {}",
    "certificate": "", "rollback": None, "restore": None, "unmigrated": False, "frozen": None,
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
        ({"settled": False, "ok": False, "running": [], "unmigrated": True}, "restored: run"),
        (
            {
                "settled": False,
                "rollback": {"from": "R2", "to": "R1", "who": "ada", "at": "T", "why": ""},
            },
            "ROLLBACK UNFINISHED from R2 to R1 (ada, T): run",
        ),
    ],
)
def test_status_tells_what_is_amiss(change: dict[str, Any], told: str) -> None:
    line = server_line("mgmt", "one", {**_STATUS, **change}, now=datetime.now(UTC))
    assert line["state"].startswith(told)
    assert line["drift"] is ("settled" in change)


@pytest.mark.parametrize(
    ("desired", "told"),
    [
        (["R1", "R1", "R1"], []),
        (["R2", "R2", "R1"], ["page: the hosts differ (u0, u1: R2; u2: R1): run"]),
        (["R1", None, "R1"], []),  # not reachable
        (["R1", "R2", "R3"], ["page: the hosts differ (u0: R1; u1: R2; u2: R3): run"]),
    ],
)
def test_status_tells_when_the_hosts_of_a_component_differ(
    desired: list[str | None], told: list[str]
) -> None:
    lines = [
        {"component": "ui", "host": f"u{number}", "desired": release}
        for number, release in enumerate(desired)
    ]
    lines.append({"component": "mgmt", "host": "m", "desired": "R9"})
    found = differences(lines)
    assert [one[: len(said)] for one, said in zip(found, told, strict=True)] == told


def test_logs_are_merged_by_time_and_what_has_none_stays_with_its_line() -> None:
    one = timed(['{"timestamp": "T1", "event": "a"}', "Traceback", '{"timestamp": "T3"}'])
    two = timed(['{"timestamp": "T2"}'])
    lines = merged({("mgmt", "h1"): {"lines": one}, ("agent", "h2"): {"lines": two}})
    assert [line.split(" ", 2)[2][:14] for line in lines] == [
        '{"timestamp": ', "Traceback", '{"timestamp": ', '{"timestamp": ',
    ]  # fmt: skip
    assert [line.split()[0] for line in lines] == ["h1", "h1", "h2", "h1"]


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({}, ["a", "b", "c"]),
        ({"since": "2026-11-30T08:00:00"}, ["b", "c"]),
        ({"pattern": '"x": "[ac]"'}, ["a", "c"]),
        ({"since": "2026-11-30T08:00:00", "pattern": '"x": "(a|c)"'}, ["c"]),
        ({"request": "id-08", "pattern": "b|c"}, ["b"]),
    ],
)
def test_log_lines_are_chosen_by_time_and_expression(
    tmp_path: Path, wanted: dict[str, str], told: list[str]
) -> None:
    component = Component("mgmt", tmp_path, "pidfile", {}, 1, 1, 1, 2)
    (tmp_path / "log").mkdir()
    times = {"a": "07:59:59.9", "b": "08:00:00.1", "c": "09:00:00"}
    (tmp_path / "log" / "20261123T220100Z-a.log").write_text(
        "".join(
            json.dumps({"timestamp": f"2026-11-30T{at}Z", "x": name, "request": f"id-{at[:2]}"})
            + "\n"
            for name, at in times.items()
        )
    )
    lines = logs(component, 100, wanted)["lines"]
    assert [json.loads(line["text"])["x"] for line in lines] == told


@pytest.mark.parametrize(
    ("since", "begin"),
    [
        ("", ""),
        ("90s", "2026-11-30T07:58:30"),
        ("2h", "2026-11-30T06:00:00"),
        ("3d", "2026-11-27T08:00:00"),
        ("2026-11-30T07:00", "2026-11-30T07:00:00"),
        ("2026-11-30T09:00+02:00", "2026-11-30T07:00:00"),
    ],
)
def test_a_time_is_how_long_ago_or_in_utc(since: str, begin: str) -> None:
    assert begin_of(since, datetime(2026, 11, 30, 8, tzinfo=UTC)) == begin


@pytest.mark.parametrize("since", ["yesterday", "10", "-5m", "99999999999999d", "5 m"])
def test_what_is_no_time_is_refused_with_examples(since: str) -> None:
    with pytest.raises(CommandFailed, match=r"is no time\. Write how long ago, as in 10m"):
        begin_of(since, datetime(2026, 11, 30, 8, tzinfo=UTC))


def test_the_page_has_no_log_and_the_cure_says_where_to_look() -> None:
    with pytest.raises(CommandFailed, match=r"no log of its own.*journalctl -u caddy") as failed:
        logs_command(What.ui)
    assert failed.value.exit_code == 2


def test_the_log_of_a_file_is_followed_from_where_it_was(tmp_path: Path) -> None:
    component = Component("mgmt", tmp_path, "pidfile", {}, 1, 1, 1, 2)
    (tmp_path / "log").mkdir()
    file = tmp_path / "log" / "20261123T220100Z-a.log"
    # The same line twice is two lines; half a line is none yet.
    file.write_text("same\nsame\nhal")
    first = logs(component, 100, {})
    assert [line["text"] for line in first["lines"]] == ["same", "same"]
    with file.open("a") as log:
        log.write("f\nid-1 x\n")
    then = logs(component, 1, {}, first["after"])
    assert [line["text"] for line in then["lines"]] == ["half", "id-1 x"]
    assert [line["text"] for line in logs(component, 100, {"request": "id-1"})["lines"]] == [
        "id-1 x"
    ]


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


@pytest.mark.parametrize(
    ("printed", "cure"),
    [
        (
            'Please login as the user "admin" rather than the user "root".\n\n',
            'Set hosts.one.user = "admin"',
        ),
        ("Please login as the user 'ubuntu' rather than the user 'root'.", '"ubuntu"'),
        ("This account is currently not available.\n", "a user who may log in there"),
        ("Your account has expired; please contact your administrator", "who may log in"),
        ("Welcome to Ubuntu", "~/.bashrc"),
    ],
)
def test_what_a_host_prints_instead_of_an_answer_decides_the_cure(printed: str, cure: str) -> None:
    with pytest.raises(Refused) as failed:
        answer_of("one", "mgmt: status", printed)
    assert cure in str(failed.value)
    assert printed.splitlines()[0] in str(failed.value)


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ("mgmt: status", "Run the same command again."),
        ("mgmt: settle", "What it was doing there continues. Run the same command again."),
    ],
)
def test_only_a_step_that_changes_something_is_said_to_continue(
    inventory: Inventory, host: HostEntry, step: str, told: str
) -> None:
    failure = explain(host, inventory.deploy, code=255, stderr="", step=step)
    assert str(failure).endswith(f"the connection was lost (it gave no reason). {told}")


@pytest.mark.parametrize("role", ["mgmt", "agent", "ui"])
def test_each_step_has_a_deadline_that_its_own_waiting_fits_in(
    inventory: Inventory, role: Role
) -> None:
    policy = inventory.deploy
    for step in (*server._READS, *server._CHANGES, "lock"):
        assert 30 < deadline_s(step, role, policy) < 12 * 3600
    gate, drain = policy.gate_timeout_s, policy.drain_s
    assert deadline_s("status", role, policy) <= 60
    assert deadline_s("start", role, policy) > gate + drain
    assert deadline_s("switch", role, policy) > 2 * gate + drain
    assert deadline_s("settle", role, policy) > drain
