"""A file is replaced as a whole, or not at all."""

import errno
import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ocmt_common.atomic_files import remove_drafts, replace_file, replacing_file, sync_folder


def names(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir())


def failing(number: int) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """`file` or `folder` for each fsync, and `replace` for each rename, in order."""
    calls: list[str] = []
    real = Path.replace

    def fsync(descriptor: int) -> None:
        calls.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")

    def replace(self: Path, target: Path) -> Path:
        calls.append("replace")
        return real(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    return calls


@pytest.mark.parametrize("content", ["", "text é\n", b"\xff\x00", "x" * 3_000_000])
@pytest.mark.parametrize("before", [None, "old" * 1000])
def test_a_file_has_the_new_content_and_there_is_no_draft(
    tmp_path: Path, content: str | bytes, before: str | None
) -> None:
    file = tmp_path / "file"
    if before is not None:
        file.write_text(before)
    replace_file(file, content)
    assert file.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o755])
def test_the_mode_is_the_given_one_whatever_the_umask_and_the_old_file_s(
    tmp_path: Path, mode: int
) -> None:
    file = tmp_path / "file"
    file.write_text("old")
    file.chmod(0o777)
    umask = os.umask(0o077)
    try:
        replace_file(file, "new", mode=mode)
    finally:
        os.umask(umask)
    assert file.stat().st_mode & 0o777 == mode


def test_only_its_owner_can_read_a_file_unless_told_otherwise(tmp_path: Path) -> None:
    replace_file(tmp_path / "secret", "s")
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("failure", [ValueError, OSError, KeyboardInterrupt, SystemExit])
def test_a_block_that_fails_leaves_the_old_file_and_no_draft(
    tmp_path: Path, failure: type[BaseException]
) -> None:
    file = tmp_path / "file"
    file.write_text("old")

    def fail() -> None:
        with replacing_file(file) as draft:
            draft.write(b"half")
            raise failure

    with pytest.raises(failure):
        fail()
    assert file.read_text() == "old"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("call", ["fsync", "fchmod"])
def test_a_full_disk_leaves_the_old_file_and_no_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    file = tmp_path / "file"
    file.write_text("old")

    monkeypatch.setattr(os, call, failing(errno.ENOSPC))
    with pytest.raises(OSError, match="No space"):
        replace_file(file, "new")
    assert file.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_a_link_in_place_of_the_file_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("as it was")
    (tmp_path / "file").symlink_to(tmp_path / "outside")
    replace_file(tmp_path / "file", "new")
    assert (tmp_path / "outside").read_text() == "as it was"
    assert not (tmp_path / "file").is_symlink()


def test_a_durable_file_is_on_disk_before_its_name_and_the_name_before_the_end(
    tmp_path: Path, synced: list[str]
) -> None:
    replace_file(tmp_path / "file", "new")
    assert synced == ["file", "replace", "folder"]


def test_a_file_of_no_use_after_a_reboot_waits_for_no_disk(
    tmp_path: Path, synced: list[str]
) -> None:
    replace_file(tmp_path / "file", "new", durable=False)
    assert synced == ["replace"]


def test_several_writers_of_one_file_each_write_a_whole_one(tmp_path: Path) -> None:
    file = tmp_path / "file"
    wanted = [bytes([number]) * 200_000 for number in range(8)]

    def write(content: bytes) -> None:
        for _ in range(5):
            replace_file(file, content, durable=False)
            assert file.read_bytes() in wanted

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, wanted))
    assert names(tmp_path) == ["file"]


def test_the_drafts_of_killed_writers_are_removed_and_nothing_else(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("as it was")
    for name in ("a.db", "a.db-wal", ".a.dbx", ".b.db.x1", ".a.db.x1", ".a.db.x2"):
        (tmp_path / name).write_text("")
    (tmp_path / ".a.db.link").symlink_to(precious)
    remove_drafts(tmp_path / "a.db")
    assert names(tmp_path) == [".a.dbx", ".b.db.x1", "a.db", "a.db-wal", "precious"]
    assert precious.read_text() == "as it was"


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_a_folder_that_is_not_on_disk_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "fsync", failing(number))
    with pytest.raises(OSError, match=os.strerror(number)):
        sync_folder(tmp_path)


def test_a_file_system_that_cannot_sync_folders_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", failing(errno.EINVAL))
    sync_folder(tmp_path)
