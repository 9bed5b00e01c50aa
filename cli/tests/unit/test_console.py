"""What a command prints is chosen by servers, containers and commits, and read by a terminal."""

import ast
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import ocmt_cli
import pytest
from ocmt_cli import status
from ocmt_cli.failure import CommandFailed
from ocmt_cli.main import main
from ocmt_common.console import complain, printable, say, say_json
from ocmt_sync import console as sync_console

HOSTILE = {
    "clears the screen": "\x1b[2J",
    "writes the clipboard": "\x1b]52;c;cm0gLXJmIH4=\x07",
    "sets the title, by C1": "\x9d0;pwned\x9c",
    "moves up a line": "\x1b[1A\x1b[2K",
    "goes back": "all is well\r",
    "erases": "\x08\x08\x08",
    "turns the text around": "\u202etxt.exe",
    "hides": "\u200b\u2066",
    "delete": "\x7f",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("colours", [True, False])
def test_no_control_character_reaches_the_terminal(text: str, colours: bool) -> None:
    shown = printable(f"before {text} after\n\tä 日本 ✓", colours=colours)
    assert all(c.isprintable() or c in "\n\t" for c in shown)
    assert shown.startswith("before ")
    assert shown.endswith(" after\n\tä 日本 ✓")


def test_colours_stay_where_a_command_gives_its_own() -> None:
    assert printable("\x1b[31mred\x1b[0m\x1b[2J", colours=True) == "\x1b[31mred\x1b[0m\\x1b[2J"
    assert printable("\x1b[31mred") == "\\x1b[31mred"


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_every_way_to_print_is_safe(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    say(text)
    complain(text)
    say_json({"said": text})
    sync_console.say(text)
    written = capsys.readouterr()
    for shown in (written.out, written.err):
        assert all(c.isprintable() or c == "\n" for c in shown)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_json_is_still_the_text_itself(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    say_json({"said": text})
    assert json.loads(capsys.readouterr().out) == {"said": text}


def test_status_shows_what_a_server_says_without_its_control_characters(
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


def test_there_is_no_other_way_to_print() -> None:
    """`hostside` runs on servers and prints JSON for us; the two consoles are the way itself."""
    folder = Path(ocmt_cli.__file__).parent
    for file in folder.rglob("*.py"):
        if file.name in ("console.py", "remote_scripts.py") or "hostside" in file.parts:
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("print", "typer.echo", "typer.secho", "sys.stdout.write"), (
                    f"{file}:{node.lineno}: print with ocmt_common.console"
                )


def stream(encoding: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding)


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [("latin-1", b"\\u2713 \xe4\n"), ("ascii", b"\\u2713 \\xe4\n"), ("utf-8", "✓ ä\n".encode())],
)
def test_a_locale_that_lacks_a_character_gets_it_escaped(
    monkeypatch: pytest.MonkeyPatch, encoding: str, shown: bytes
) -> None:
    for name, write in (("stdout", say), ("stderr", complain)):
        target = stream(encoding)
        monkeypatch.setattr(sys, name, target)
        write("✓ ä")
        assert target.buffer.getvalue() == shown  # type: ignore[attr-defined]
    monkeypatch.setattr(sys, "stdout", target := stream(encoding))
    say_json({"✓": "ä"})
    assert json.loads(target.buffer.getvalue().decode(encoding)) == {"✓": "ä"}  # type: ignore[attr-defined]


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
def test_a_full_disk_below_standard_output_is_told(words: tuple[str, ...]) -> None:
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
        (BrokenPipeError(32, "Broken pipe"), "a program or connection"),
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
    """A broken pipe that is not standard output's ended a command without a word."""

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
