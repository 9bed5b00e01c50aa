"""Ctrl-C in `ocmt test` leaves pytest the time to take down what its tests started."""

import os
import signal
import subprocess
import sys
from pathlib import Path

TESTS = """import time
import pytest

@pytest.fixture
def database():
    yield
    time.sleep(1)
    open("down", "w").close()

@pytest.mark.unit
def test_that_takes_long(database, capfd):
    with capfd.disabled():
        print("\\nbegun", flush=True)
    time.sleep(600)
"""
RUN = """import sys
from pathlib import Path
from ocmt_cli.testing import command
command.ROOT = Path(sys.argv[1])
command.run_tiers(["unit", "docker"], ["-n0"])
"""


def test_what_a_test_started_is_taken_down_and_nothing_more_is_run(tmp_path: Path) -> None:
    (tmp_path / "test_long.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    unit\n    docker\n")
    with subprocess.Popen(
        [sys.executable, "-c", RUN, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as run:
        assert run.stdout is not None
        assert any(line == "begun\n" for line in run.stdout)
        os.killpg(run.pid, signal.SIGINT)
        rest = run.stdout.read()
    assert (tmp_path / "down").exists()
    assert rest.count("test session starts") == 0
    assert run.returncode == -signal.SIGINT
