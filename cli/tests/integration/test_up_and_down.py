"""The real `ocmt up` … `down` with both servers and, once, the real OpenClaw as a process."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from ocmt_cli import processes
from ocmt_cli.up.data_folder import DataFolder
from ocmt_cli.up.health import get
from ocmt_cli.up.servers import OWNER
from ocmt_common.process_identity import start_ticks
from ocmt_testing.ports import free_port_base

# Of every Python that is started: while the file FULL is there, the record cannot be written.
DISK_THAT_FILLS = """
import errno, os, sys

def refuse(event, arguments):
    if event == "open" and "/.up.json." in str(arguments[0]) and os.path.exists(FULL):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), arguments[0])

sys.addaudithook(refuse)
"""


def until(holds: Callable[[], bool], *, within_s: float, what: str) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {within_s} s: {what}"
        time.sleep(0.05)


@dataclass
class Installation:
    data: DataFolder
    port: int
    full: Path
    """Whether this file is there is whether the disk is full, as far as the record is concerned."""

    def words(self, name: str, *more: str) -> list[str]:
        return [sys.executable, "-m", "ocmt_cli.main", name, "--data", str(self.data.root), *more]

    def ocmt(self, name: str, *more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.words(name, *more),
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
            env=os.environ | {"PYTHONPATH": str(self.full.parent)},
        )

    def up(self, *more: str) -> subprocess.CompletedProcess[str]:
        return self.ocmt("up", "--runtime", "process", "--port", str(self.port), *more)

    def status(self) -> dict[str, Any]:
        read: dict[str, Any] = json.loads(self.ocmt("status", "--json").stdout)
        return read

    def down(self) -> None:
        """`ocmt down`; then nothing of it is left."""
        done = self.ocmt("down")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "nothing is left running" in done.stdout
        assert self.processes() == []

    def processes(self) -> list[int]:
        """Every process of this installation: supervisor's servers and gateways."""
        found = processes.find(
            lambda env: (
                env.get(OWNER) == str(self.data.root)
                or env.get("OPENCLAW_STATE_DIR", "").startswith(f"{self.data.root}/")
            )
        )
        pids = [process.pid for process in found]
        for process in found:
            process.close()
        return pids

    def agent_api(self, path: str, body: dict[str, str]) -> Any:
        answer = httpx2.post(
            f"http://127.0.0.1:{self.port + 1000}{path}",
            json=body,
            headers={"x-auth-token": self.data.auth_token},
            timeout=600,
            trust_env=False,
        )
        return answer.raise_for_status().json()


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    full = tmp_path_factory.mktemp("disk") / "full"
    full.with_name("sitecustomize.py").write_text(DISK_THAT_FILLS.replace("FULL", repr(str(full))))
    made = Installation(DataFolder(tmp_path_factory.mktemp("up") / "data"), free_port_base(), full)
    yield made
    made.ocmt("down")


@pytest.fixture
def stopped(installation: Installation) -> Installation:
    if installation.processes():
        installation.down()
    return installation


@pytest.fixture
def running(installation: Installation) -> Installation:
    """A running installation; restarted if the test before left it stopped or unhealthy."""
    found = installation.status()
    if not (found["running"] and all(one["healthy"] for one in found["servers"].values())):
        installation.ocmt("down")
        done = installation.up("--detach")
        assert done.returncode == 0, done.stdout + done.stderr
    return installation


def test_up_ends_with_the_address_and_a_link_and_the_page_answers(stopped: Installation) -> None:
    done = stopped.up("--detach")
    answered = get(f"http://127.0.0.1:{stopped.port}/").status
    assert done.returncode == 0, done.stderr
    assert f"OCMT is running: http://127.0.0.1:{stopped.port}" in done.stdout
    assert re.search(rf"http://127\.0\.0\.1:{stopped.port}/sign-in#\S{{20,}}", done.stdout)
    assert answered == 200


def test_status_reports_both_servers_healthy(running: Installation) -> None:
    found = running.status()
    assert found["running"]
    assert found["phase"] == "running"
    assert {name: one["healthy"] for name, one in found["servers"].items()} == {
        "agent": True,
        "management": True,
    }
    assert all(start_ticks(one["pid"]) for one in found["servers"].values())


def test_the_audit_trail_of_a_running_installation_is_shown(running: Installation) -> None:
    assert running.ocmt("link", "--email", "eve@example.com").returncode == 0
    shown = running.ocmt("audit", "--email", "eve@example.com")
    exported = running.ocmt("audit", "--json", "--days", "1")
    nobody = running.ocmt("audit", "--email", "nobody@example.com")
    assert "link.made" in shown.stdout
    events = [json.loads(line) for line in exported.stdout.splitlines()]
    assert {"link.made", "user.created", "user.admin"} <= {event["action"] for event in events}
    assert nobody.returncode != 0
    assert "No user has the address nobody@example.com." in nobody.stdout + nobody.stderr


def test_a_second_up_reports_where_it_runs_and_how_to_stop_it(running: Installation) -> None:
    again = running.up("--detach")
    assert again.returncode == 0
    assert f"already running at http://127.0.0.1:{running.port}" in again.stdout
    assert f"ocmt down --data {running.data.root}" in again.stdout
    assert running.up().returncode == 1


def test_another_installation_on_the_same_port_is_told_which_program_has_it(
    running: Installation, tmp_path: Path
) -> None:
    other = Installation(DataFolder(tmp_path / "other"), running.port, running.full)
    refused = other.up("--detach")
    assert refused.returncode == 75
    assert f"Port {running.port} (the page) is taken by" in refused.stderr
    assert "ocmt up --port" in refused.stderr


def test_a_killed_agent_server_is_back_in_seconds(running: Installation) -> None:
    before = running.status()["servers"]["agent"]
    os.kill(before["pid"], signal.SIGKILL)

    def back() -> bool:
        agent = running.status()["servers"]["agent"]
        again = agent["restarts"] == before["restarts"] + 1
        return bool(agent["pid"] != before["pid"] and agent["healthy"] and again)

    until(back, within_s=120, what="the agent server healthy again")
    running.down()


def test_a_killed_supervisor_is_recovered_by_the_next_up(running: Installation) -> None:
    os.kill(running.status()["supervisor"]["pid"], signal.SIGKILL)
    until(lambda: not running.status()["running"], within_s=60, what="status tells the truth")
    assert running.status()["leftovers"] == 2
    assert "2 of its processes are still running" in running.ocmt("status").stdout
    again = running.up("--detach")
    assert again.returncode == 0, again.stderr
    assert "that an earlier run had left running" in again.stdout
    assert running.status()["phase"] == "running"
    running.down()


def test_down_after_a_killed_supervisor_leaves_nothing(running: Installation) -> None:
    os.kill(running.status()["supervisor"]["pid"], signal.SIGKILL)
    assert running.processes() != []
    running.down()


def test_a_full_disk_ends_nothing_that_runs_and_keeps_nothing_from_ending(
    running: Installation,
) -> None:
    running.full.touch()
    try:
        (pid,) = [
            one
            for one in running.processes()
            if b"ocmt_management" in Path(f"/proc/{one}/cmdline").read_bytes()
        ]
        os.kill(pid, signal.SIGKILL)
        until(lambda: pid not in running.processes(), within_s=60, what="gone")
        until(
            lambda: get(f"http://127.0.0.1:{running.port}/").status == 200, within_s=120, what="up"
        )
        assert "The disk is full" in (running.data.logs / "ocmt.log").read_text()
        running.down()
        refused = running.up("--detach")
        assert refused.returncode == 1
        assert "The disk is full" in refused.stderr
        assert "Traceback" not in refused.stderr
    finally:
        running.full.unlink()


def test_down_finds_running_processes_when_its_folder_was_removed(running: Installation) -> None:
    away = running.data.root.with_name("away")
    running.data.root.rename(away)
    try:
        running.down()
    finally:
        away.rename(running.data.root)


def test_down_stops_an_agent_that_is_awake(running: Installation) -> None:
    made = running.agent_api(
        "/api/containers", {"userId": "ada", "agentToken": "A-token-of-some-length"}
    )
    assert made["hibernationState"] == "running"
    assert len(running.processes()) > 2
    (agent,) = running.status()["agents"]
    assert agent["userId"] == "ada"
    assert agent["memoryBytes"] > 50_000_000
    running.down()
    assert "Nothing was running" in running.ocmt("down").stdout


def test_wrong_settings_are_shown_and_nothing_is_left_running(stopped: Installation) -> None:
    file = stopped.data.management_env
    usual = file.read_text()
    file.write_text(f"{usual}SMTP_PROT=25\n")
    try:
        refused = stopped.up("--detach")
    finally:
        file.write_text(usual)
    assert refused.returncode == 78
    assert "SMTP_PROT" in refused.stderr
    assert "did you mean SMTP_PORT?" in refused.stderr
    assert stopped.processes() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_in_the_foreground_a_signal_stops_everything(
    stopped: Installation, number: signal.Signals
) -> None:
    foreground = subprocess.Popen(
        stopped.words("up", "--runtime", "process", "--port", str(stopped.port)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    # A start that hangs must not hang the tests: then the end of the output breaks the loop.
    watchdog = threading.Timer(600, foreground.kill)
    watchdog.start()
    said: list[str] = []
    assert foreground.stdout is not None
    for line in foreground.stdout:
        said.append(line)
        if "Press Ctrl-C to stop." in line:
            break
    assert stopped.processes() != [], said
    foreground.send_signal(number)
    rest, _ = foreground.communicate(timeout=240)
    watchdog.cancel()
    assert foreground.returncode == 0, rest
    assert "Stopped; nothing is left running." in rest
    assert stopped.processes() == []
