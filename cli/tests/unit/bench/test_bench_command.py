"""`ocmt bench` finds the checkout's benchmarks, passes options on and keeps exit codes."""

from pathlib import Path

import pytest
from ocmt_cli.bench import command
from ocmt_cli.bench.command import FOLDER, benchmarks
from ocmt_cli.failure import CommandFailed
from typer.testing import CliRunner

ECHO = '''"""Says its options back."""
import sys
print(sys.argv[1:], file=open("said", "w"))
sys.exit(3 if "--fail" in sys.argv else 0)
'''


def run(*arguments: str) -> int:
    done = CliRunner().invoke(command.app, [*arguments])
    if isinstance(done.exception, CommandFailed):
        raise done.exception
    return done.exit_code


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "echo.py").write_text(ECHO, encoding="utf-8")
    monkeypatch.setattr(command, "FOLDER", tmp_path)
    monkeypatch.setattr(command, "ROOT", tmp_path)
    return tmp_path


def test_every_benchmark_of_the_checkout_says_what_it_measures() -> None:
    found = benchmarks(FOLDER)
    assert {"llm", "proxy", "sync"} <= set(found)
    assert all(found.values())


def test_options_reach_the_benchmark_and_its_exit_code_comes_back(folder: Path) -> None:
    assert run("echo", "--json", "--rounds", "2") == 0
    assert (folder / "said").read_text() == "['--json', '--rounds', '2']\n"
    assert run("echo", "--fail") == 3


@pytest.mark.usefixtures("folder")
def test_an_unknown_benchmark_is_answered_with_those_there_are() -> None:
    with pytest.raises(CommandFailed, match="there are: echo"):
        run("nothing")
