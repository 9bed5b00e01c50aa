"""The checkout that the command runs from (an editable install), and how to type the command."""

import shlex
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEFAULT_DATA = ROOT / "data"


def command(words: str, *, data: Path = DEFAULT_DATA) -> str:
    """`ocmt WORDS` as it can be typed in the current folder, even if `ocmt` is not on PATH."""
    try:
        here = Path.cwd() == ROOT
    except FileNotFoundError:
        here = False
    program = "./ocmt" if here else shlex.quote(str(ROOT / "ocmt"))
    folder = "" if data == DEFAULT_DATA else f" --data {shlex.quote(str(data))}"
    return f"{program} {words}{folder}"
