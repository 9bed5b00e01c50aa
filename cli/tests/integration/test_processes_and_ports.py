"""Real processes, ports and locks: only the right process is signalled."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO

import pytest
from ocmt_cli import processes
from ocmt_cli.down import down
from ocmt_cli.failure import CommandFailed
from ocmt_cli.orphans import end_orphans
from ocmt_cli.ports import holder, is_free, require_free
from ocmt_cli.processes import Process
from ocmt_cli.status import memory_by_home
from ocmt_cli.up.run_state import Record, read_record, try_run_lock, write_record
from ocmt_cli.up.servers import OWNER
from ocmt_common.process_identity import start_ticks

# Tells that it runs, and then only waits; DEAF ignores the request to end.
WAITS = """
import os, signal, sys
if "DEAF" in os.environ:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
sys.stdin.read()
"""


class Started:
    def __init__(self, code: str, *arguments: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n"

    @property
    def pid(self) -> int:
        return self.process.pid

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        pipes: tuple[IO[bytes] | None, ...] = (self.process.stdin, self.process.stdout)
        for pipe in pipes:
            assert pipe is not None
            pipe.close()


@pytest.fixture
def started() -> Iterator[list[Started]]:
    all_of_them: list[Started] = []
    yield all_of_them
    for one in all_of_them:
        one.close()


def start(started: list[Started], code: str = WAITS, *arguments: str, **env: str) -> Started:
    started.append(Started(code, *arguments, **env))
    return started[-1]


def test_memory_is_summed_for_each_agent_of_this_folder_alone(
    started: list[Started], tmp_path: Path
) -> None:
    for folder, user in (("ours", "ada"), ("ours", "ada"), ("ours", "bob"), ("theirs", "eve")):
        start(started, OPENCLAW_STATE_DIR=str(tmp_path / folder / "agent/agents" / user / "state"))
    held = memory_by_home(tmp_path / "ours")
    assert held.keys() == {"ada", "bob"}
    assert held["ada"] > held["bob"] > 1_000_000


def test_memory_of_a_program_that_ends_while_it_is_read_is_left_out(
    started: list[Started], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = start(started, OPENCLAW_STATE_DIR=str(tmp_path / "agent/agents/ada/state"))
    find = processes.find

    def found_just_before_its_end(is_ours: Callable[[dict[str, str]], bool]) -> list[Process]:
        found = find(is_ours)
        gateway.process.kill()
        gateway.process.wait()
        return found

    monkeypatch.setattr(processes, "find", found_just_before_its_end)
    assert memory_by_home(tmp_path) == {}


def test_leftovers_of_this_folder_are_ended_and_nothing_else(
    started: list[Started], tmp_path: Path
) -> None:
    server = start(started, **{OWNER: str(tmp_path)})
    gateway = start(started, OPENCLAW_STATE_DIR=str(tmp_path / "agent/agents/u1/state"))
    other_folder = start(started, **{OWNER: f"{tmp_path}-other"})
    ended = end_orphans(tmp_path)
    assert (ended.found, ended.left) == (2, [])
    assert server.process.wait(60) == gateway.process.wait(60) == -signal.SIGTERM
    assert other_folder.process.poll() is None


def test_one_that_does_not_listen_is_killed(started: list[Started], tmp_path: Path) -> None:
    deaf = start(started, DEAF="yes")
    assert processes.end([processes.Process(deaf.pid)], grace_s=0.1) == []
    assert deaf.process.wait(60) == -signal.SIGKILL


def test_a_frozen_one_is_thawed_to_hear_the_request(started: list[Started]) -> None:
    frozen = start(started)
    os.kill(frozen.pid, signal.SIGSTOP)
    assert processes.end([processes.Process(frozen.pid)], grace_s=60) == []
    assert frozen.process.wait(60) == -signal.SIGTERM


def test_a_zombie_process_counts_as_ended(started: list[Started]) -> None:
    zombie = start(started)
    held = processes.Process(zombie.pid)
    assert start_ticks(zombie.pid) is not None
    os.kill(zombie.pid, signal.SIGKILL)
    assert held.wait(60)
    assert start_ticks(zombie.pid) is None
    held.close()


def test_down_never_signals_a_process_that_got_the_pid_later(
    started: list[Started], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    innocent = start(started)
    later = (start_ticks(innocent.pid) or 0) - 1
    record = Record("running", 3000, "process", pid=innocent.pid, started_ticks=later)
    write_record(tmp_path, record)
    down(tmp_path)
    assert "Nothing was running" in capsys.readouterr().out
    assert innocent.process.poll() is None
    assert read_record(tmp_path) == replace(record, phase="stopped", pid=0, started_ticks=0)


def test_down_where_nothing_ever_ran_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    down(tmp_path)
    assert f"Nothing is running from {tmp_path}" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


LOCKS = """
import sys
from pathlib import Path
from ocmt_cli.up.run_state import try_run_lock
lock = try_run_lock(Path(sys.argv[1]))
print("ready" if lock else "taken", flush=True)
sys.stdin.read()
"""


def test_a_folder_is_run_by_one_at_a_time_and_free_again_when_that_one_is_killed(
    started: list[Started], tmp_path: Path
) -> None:
    holding = start(started, LOCKS, str(tmp_path))
    assert try_run_lock(tmp_path) is None
    holding.process.kill()
    holding.process.wait()
    lock = try_run_lock(tmp_path)
    assert lock is not None
    lock.release()


def test_a_record_that_was_cut_off_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / "up.json").write_text('{"phase": "runn')
    assert read_record(tmp_path) is None


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_taken_port_is_reported_with_its_holder_and_another_to_choose(taken: int) -> None:
    assert not is_free(taken)
    with pytest.raises(CommandFailed) as caught:
        require_free({taken: "the page"}, instead=lambda free: f"try {free}")
    assert caught.value.exit_code == 75
    assert f"Port {taken} (the page) is taken by" in str(caught.value)
    assert f"(pid {os.getpid()})" in str(caught.value)
    assert re.search(r"choose another port: try \d+$", str(caught.value))


def test_an_unused_port_is_free(taken: int) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        unused = probe.getsockname()[1]
    assert is_free(unused)
    assert holder(unused) is None
