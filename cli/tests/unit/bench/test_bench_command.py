"""`ocmt bench` finds the checkout's benchmarks and executes the chosen one."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from ocmt_cli.bench import command
from ocmt_cli.bench.command import FOLDER, benchmarks, summary_of
from ocmt_cli.failure import CommandFailed
from typer.testing import CliRunner

ECHO = '''"""Says its options back."""
import sys
print(sys.argv[1:])
sys.exit(3 if "--fail" in sys.argv else 0)
'''
# Slower to tidy up than any patience of a parent that passes the signal on.
TIDY = '''"""Tidies up when it is interrupted."""
import time
try:
    print("begun", flush=True)
    time.sleep(600)
except KeyboardInterrupt:
    time.sleep(1)
    print("tidied", flush=True)
'''
BENCH = """import sys
from pathlib import Path
from ocmt_cli.bench import command
command.FOLDER = command.ROOT = Path(sys.argv.pop(1))
command.app()
"""


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """Starts `ocmt bench` in a checkout with these two benchmarks."""
    (tmp_path / "echo.py").write_text(ECHO, encoding="utf-8")
    (tmp_path / "tidy.py").write_text(TIDY, encoding="utf-8")
    return [sys.executable, "-c", BENCH, str(tmp_path)]


def test_every_benchmark_of_the_checkout_has_a_summary() -> None:
    found = benchmarks(FOLDER)
    assert {"llm", "mcp", "page", "proxy", "sync"} <= set(found)
    assert all(map(summary_of, found.values()))


@pytest.mark.parametrize(("more", "code"), [((), 0), (("--fail",), 3)])
def test_options_reach_the_benchmark_and_its_exit_code_comes_back(
    words: list[str], more: tuple[str, ...], code: int
) -> None:
    options = ["--json", "--rounds", "2", *more]
    done = subprocess.run([*words, "echo", *options], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (code, f"{options}\n")


def test_an_interrupted_benchmark_tidies_up(words: list[str]) -> None:
    with subprocess.Popen([*words, "tidy"], stdout=subprocess.PIPE, text=True) as bench:
        assert bench.stdout is not None
        assert bench.stdout.readline() == "begun\n"
        bench.send_signal(signal.SIGINT)
        assert bench.stdout.read() == "tidied\n"


def test_an_unknown_benchmark_is_answered_with_the_known_ones() -> None:
    done = CliRunner().invoke(command.app, ["nothing"])
    assert isinstance(done.exception, CommandFailed)
    assert "there are: control, density" in str(done.exception)
