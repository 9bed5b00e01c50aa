"""docs/operations.md: every command in it exists, with its options."""

import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest
from ocmt_cli.main import COMMANDS
from typer.main import get_command

ROOT = Path(__file__).parents[4]
GUIDE = (ROOT / "docs" / "operations.md").read_text()
LINES = sorted(
    set(re.findall(r"^\./ocmt .+$", GUIDE, re.M)) | set(re.findall(r"`(\./ocmt [^`\n]+)`", GUIDE))
)


@pytest.mark.parametrize("line", LINES)
def test_every_command_of_the_guide_exists(line: str) -> None:
    _, name, *words = shlex.split(line)
    command = get_command(getattr(import_module(COMMANDS[name].module), COMMANDS[name].attribute))
    if "restore" in line and not words:
        return  # named in passing
    if name == "setup" and not words:
        return
    # Raises for an option or argument that is not there.
    command.make_context(name, list(words))


def test_the_guide_has_every_part() -> None:
    named = {shlex.split(line)[1] for line in LINES}
    wanted = {"setup", "deploy", "status", "changed", "rollback", "releases", "backup", "restore"}
    assert wanted | {"logs"} <= named


@pytest.mark.parametrize("path", re.findall(r"`((?:deploy|scripts|docs|\.github)/[^`\s]+)`", GUIDE))
def test_every_file_of_the_guide_exists(path: str) -> None:
    assert (ROOT / path).exists()
