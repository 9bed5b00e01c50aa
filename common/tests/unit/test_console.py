"""Text from servers, containers and commits is printed safely on a terminal."""

import io
import json
import sys

import pytest
from ocmt_common.console import complain, printable, say, say_json

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
def test_every_print_function_is_safe(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    say(text)
    complain(text)
    say_json({"said": text})
    written = capsys.readouterr()
    for shown in (written.out, written.err):
        assert all(c.isprintable() or c == "\n" for c in shown)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_json_is_still_the_text_itself(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    say_json({"said": text})
    assert json.loads(capsys.readouterr().out) == {"said": text}


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
