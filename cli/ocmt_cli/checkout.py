"""Where the checkout is, from which the command runs (an editable install), and how to type it."""

import shlex
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEFAULT_DATA = ROOT / "data"


def command(words: str, *, data: Path = DEFAULT_DATA) -> str:
    """`ocmt WORDS` as the operator has to type it here: it is on nobody's path."""
    try:
        here = Path.cwd() == ROOT
    except FileNotFoundError:
        here = False
    program = "./ocmt" if here else shlex.quote(str(ROOT / "ocmt"))
    folder = "" if data == DEFAULT_DATA else f" --data {shlex.quote(str(data))}"
    return f"{program} {words}{folder}"
