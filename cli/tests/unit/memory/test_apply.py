import errno
import os
from pathlib import Path

import pytest
from ocmt_cli.failure import CommandFailed
from ocmt_cli.memory import apply as module
from ocmt_cli.memory.apply import apply
from ocmt_cli.memory.plan import Plan, Run, Write


def test_a_program_that_never_ends_is_reported_like_any_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_SLOWEST_S", 0.05)
    with pytest.raises(CommandFailed, match=r"(?s)sleep 60.*did not end.*ocmt memory disable"):
        apply(Plan("", (Run(("sleep", "60")),)), say=lambda _: None)


@pytest.mark.parametrize("before", [None, "", "[Unit]\n"])
def test_a_file_that_the_disk_does_not_take_stays_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str | None
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    file = tmp_path / "unit"
    if before is not None:
        file.write_text(before)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CommandFailed, match=r"(?s)write .*unit.*No space"):
        apply(Plan("", (Write(file, "new"),)), say=lambda _: None)
    assert (file.read_text() if file.exists() else None) == before
    assert len(list(tmp_path.iterdir())) == (before is not None)
