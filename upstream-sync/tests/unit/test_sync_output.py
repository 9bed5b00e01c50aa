"""Text of upstream's commits is printed safely on a terminal."""

import pytest
from ocmt_sync.console import say


@pytest.mark.parametrize(
    "text",
    ["\x1b[2J", "\x1b]52;c;cm0gLXJmIH4=\x07", "\x9d0;pwned\x9c", "all is well\r", "\u202etxt.exe"],
)
def test_a_line_has_no_control_characters(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    say(f"before {text} after")
    shown = capsys.readouterr().out
    assert all(c.isprintable() or c == "\n" for c in shown)
    assert shown.startswith("before ")
