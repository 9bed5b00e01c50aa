"""A link that cannot be made: the server's error message, without a traceback."""

import subprocess
from pathlib import Path

import pytest
from ocmt_cli.failure import CommandFailed
from ocmt_cli.link import sign_in_link
from ocmt_cli.up.data_folder import DataFolder, open_data_folder


@pytest.fixture
def data(tmp_path: Path) -> DataFolder:
    return open_data_folder(tmp_path / "data")


@pytest.mark.parametrize(
    ("stderr", "told"),
    [
        (
            "usage: python -m ocmt_management sign-in-link [-h]\n"
            "python -m ocmt_management: error: argument --email: 'bad' is no address\n",
            "argument --email: 'bad' is no address",
        ),
        ("Traceback (most recent call last):\n  File x\nKeyboardInterrupt\n", "KeyboardInterrupt"),
        ("The database does not answer. Check it.\n", "The database does not answer. Check it."),
        ("", "gave no reason"),
    ],
)
def test_the_reason_is_one_sentence(
    data: DataFolder, monkeypatch: pytest.MonkeyPatch, stderr: str, told: str
) -> None:
    made = subprocess.CompletedProcess([], 1, "", stderr)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: made)
    with pytest.raises(CommandFailed) as failed:
        sign_in_link(data, port=3000)
    assert str(failed.value).startswith("The link could not be made: ")
    assert told in str(failed.value)
    assert "usage" not in str(failed.value)
    assert "Traceback" not in str(failed.value)


def test_ctrl_c_does_not_reach_the_making_of_a_link(
    data: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It shared the terminal's process group, and its traceback appeared beside `up`'s own
    message."""
    given: dict[str, object] = {}

    def run(*_: object, **options: object) -> "subprocess.CompletedProcess[str]":
        given.update(options)
        return subprocess.CompletedProcess([], 0, "http://127.0.0.1/sign-in#x\n", "")

    monkeypatch.setattr(subprocess, "run", run)
    assert sign_in_link(data, port=3000) == "http://127.0.0.1/sign-in#x"
    assert given["start_new_session"] is True
