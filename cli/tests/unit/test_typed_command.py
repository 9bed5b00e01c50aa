"""How a message tells the operator to type the command."""

import shlex
from pathlib import Path

import pytest
from ocmt_cli.checkout import DEFAULT_DATA, ROOT, command


def test_in_the_checkout_it_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert command("up", data=DEFAULT_DATA) == "./ocmt up"


def test_elsewhere_and_for_another_folder_it_can_be_pasted_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "Ada's data; all of it"
    said = command("down", data=folder)
    assert shlex.split(said) == [str(ROOT / "ocmt"), "down", "--data", str(folder)]
