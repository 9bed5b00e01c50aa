"""The commands' output is safe for a terminal, and survives a closed reader or a full disk."""

import ast
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import ocmt_cli
import ocmt_sync
import pytest
from ocmt_cli import status
from ocmt_cli.failure import CommandFailed
from ocmt_cli.main import main


def test_status_shows_a_server_s_text_without_control_characters(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {
        "running": True, "address": "http://127.0.0.1", "phase": "ready", "runtime": "process",
        "data": "/data",
        "servers": {"agent": {"healthy": False, "pid": 1, "since": "now", "restarts": 0,
                              "health": {"problems": ["\x1b]52;c;AA\x07"]}}},
        "agents": [{"userId": "ada", "hibernationState": "failed", "idleMinutes": 1,
                    "memoryBytes": None, "because": "\x1b[2Jgone"}],
    }  # fmt: skip
    monkeypatch.setattr(status, "collect", lambda _: found)
    with pytest.raises(SystemExit):
        main(["status", "--data", "/data"])
    out = capsys.readouterr().out
    assert "\\x1b[2Jgone" in out
    assert "\x1b" not in out


def test_a_failure_is_printed_safely(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise CommandFailed("the host said: \x1b[2J")

    monkeypatch.setattr(status, "collect", fail)
    assert main(["status", "--data", "/data"]) == 1
    assert capsys.readouterr().err == "the host said: \\x1b[2J\n"


@pytest.mark.parametrize("package", [ocmt_cli, ocmt_sync], ids=lambda package: package.__name__)
def test_everything_is_printed_by_the_console(package: ModuleType) -> None:
    """Except in `hostside`, which runs on servers and prints JSON for the command."""
    assert package.__file__ is not None
    for file in Path(package.__file__).parent.rglob("*.py"):
        if file.name == "remote_scripts.py" or "hostside" in file.parts:
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("print", "typer.echo", "typer.secho", "sys.stdout.write"), (
                    f"{file}:{node.lineno}: print with ocmt_common.console"
                )


def ocmt(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    code = "import sys; from ocmt_cli.main import main; sys.exit(main(sys.argv[1:]))"
    done: subprocess.CompletedProcess[str] = subprocess.run(
        [sys.executable, "-c", code, *words], stderr=subprocess.PIPE, text=True, check=False,
        **options,
    )  # fmt: skip
    return done


@pytest.mark.parametrize("words", [("--help",), ("capacity", "--ram", "8GB"), ("doctor", "--json")])
def test_a_reader_that_has_seen_enough_is_no_failure(words: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = ocmt(*words, stdout=writing)
    os.close(writing)
    assert (done.stderr, done.returncode) == ("", 0)


def test_a_closed_standard_output_is_no_failure() -> None:
    done = ocmt("--help", preexec_fn=lambda: os.close(1))
    assert (done.stderr, done.returncode) == ("", 0)


@pytest.mark.parametrize("words", [("--help",), ("capacity", "--ram", "8GB")])
def test_a_full_disk_below_standard_output_is_reported(words: tuple[str, ...]) -> None:
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        done = ocmt(*words, stdout=full)
    assert done.stderr.endswith(
        "the disk is full (<stdout>). Free some space, then run it again.\n"
    )
    assert "Traceback" not in done.stderr
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (BrokenPipeError(32, "Broken pipe"), "the program or connection"),
        (PermissionError(13, "Permission denied", "/data/x"), "Permission denied (/data/x)"),
        (OSError(28, "No space left on device", "/data/x"), "the disk is full (/data/x)"),
        (OSError(24, "Too many open files"), "ulimit -n"),
        (OSError(5, "Input/output error"), "Input/output error"),
    ],
)
def test_what_the_machine_refuses_is_a_sentence(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: OSError,
    told: str,
) -> None:
    """A broken pipe other than standard output's used to end a command silently."""

    def fail(_: object) -> None:
        raise error

    monkeypatch.setattr(status, "collect", fail)
    try:
        code = main(["status", "--data", "/data"])
    except SystemExit as ended:
        code = int(ended.code or 0)
    said = capsys.readouterr().err
    assert code == 1
    assert told in said
    assert said.startswith("ocmt status: ")
    assert "Traceback" not in said
