"""What `ocmt backup` says when this machine's disk is full."""

import errno
from pathlib import Path
from unittest.mock import Mock

import pytest
from ocmt_cli.backup import commands
from ocmt_cli.failure import CommandFailed


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_the_cure_is_one_that_the_command_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(commands, "load_inventory", Mock())
    refused = OSError(number, "no", str(tmp_path / "kept" / "data"))
    monkeypatch.setattr(commands, "backup", Mock(side_effect=refused))

    with pytest.raises(CommandFailed, match=r"another.*backup FOLDER") as failed:
        commands.backup_command(tmp_path / "kept")

    assert str(tmp_path / "kept" / "data") in str(failed.value)
    assert "--data" not in str(failed.value)
