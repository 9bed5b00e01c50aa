"""A process is identified by its pid and start time, whatever its name and state."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ocmt_common.process_identity import LiveProcess, live_process, start_ticks

_HZ = os.sysconf("SC_CLK_TCK")


@contextmanager
def sleeper(program: str = "/bin/sleep") -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([program, "60"]) as process:
        try:
            yield process
        finally:
            process.kill()


def test_the_start_is_in_ticks_since_boot() -> None:
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    with sleeper() as process:
        started = start_ticks(process.pid)
        after = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert started is not None
    assert before * _HZ - 2 <= started <= after * _HZ + 2


@pytest.mark.parametrize("name", ["sleep", "a b", "x) S 1 (", ")))", "(", "é ü"])
def test_a_program_s_name_is_not_mistaken_for_fields(tmp_path: Path, name: str) -> None:
    shutil.copy("/bin/sleep", tmp_path / name)
    with sleeper(str(tmp_path / name)) as process, sleeper() as next_one:
        found, later = live_process(process.pid), start_ticks(next_one.pid)
        assert found is not None
        assert later is not None
        assert 0 <= later - found.started_ticks < 60 * _HZ


def test_a_stopped_process_lives_and_an_ended_one_does_not() -> None:
    with sleeper() as process:
        before = live_process(process.pid)
        assert before is not None
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        assert live_process(process.pid) == LiveProcess("T", before.started_ticks)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert Path(f"/proc/{process.pid}/stat").exists()  # a zombie
        assert live_process(process.pid) is None
        assert start_ticks(process.pid) is None
    assert start_ticks(process.pid) is None


@pytest.mark.parametrize("pid", [0, -1, 2**22 + 1])
def test_a_number_that_is_no_pid_is_none(pid: int) -> None:
    assert live_process(pid) is None
    assert start_ticks(pid) is None


def test_another_process_sees_the_same_start() -> None:
    told = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from ocmt_common.process_identity import start_ticks; "
            "print(start_ticks(int(sys.argv[1])))",
            str(os.getpid()),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(told.stdout) == start_ticks(os.getpid())
