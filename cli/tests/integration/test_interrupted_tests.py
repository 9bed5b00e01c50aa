"""Ctrl-C in `ocmt test` gives pytest the time to stop what its tests started."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

TESTS = """import gc
import time
import pytest

@pytest.fixture
def database():
    yield
    time.sleep(1)
    open("down", "w").close()

@pytest.mark.unit
def test_that_takes_long(database):
    gc.disable()  # a KeyboardInterrupt in a callback of the collector would be lost
    print("\\nbegun", flush=True)
    time.sleep(600)
"""
RUN = """import signal, sys
from pathlib import Path
from ocmt_cli.testing import command
from ocmt_cli.testing.report import Report
from ocmt_cli.testing.tiers import TIERS
# A script's background jobs ignore SIGINT, and so would all that is started by them.
signal.signal(signal.SIGINT, signal.default_int_handler)
command.ROOT = Path(sys.argv[1])
command.run_tiers(Report([TIERS["unit"], TIERS["docker"]]), ["-n0", "-s"], Path(sys.argv[1]))
"""


@pytest.mark.timeout(120)
@pytest.mark.parametrize("started", ["by hand", "in the background of a script"])
def test_what_a_test_started_is_stopped_and_no_further_test_runs(
    tmp_path: Path, started: str
) -> None:
    (tmp_path / "test_long.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    unit\n    docker\n")
    usual = signal.getsignal(signal.SIGINT)
    if started != "by hand":
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # what is started inherits it
    try:
        run = subprocess.Popen(
            [sys.executable, "-c", RUN, str(tmp_path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
    finally:
        signal.signal(signal.SIGINT, usual)
    with run:
        assert run.stdout is not None
        try:
            assert any(line == "begun\n" for line in run.stdout)
            os.killpg(run.pid, signal.SIGINT)
            rest = run.stdout.read()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(run.pid, signal.SIGKILL)
    assert (tmp_path / "down").exists()
    assert rest.count("test session starts") == 0
    assert run.returncode == -signal.SIGINT
