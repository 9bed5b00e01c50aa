"""Folders that an agent owns: links that it may have planted are never followed."""

import os
from pathlib import Path

import pytest
from ocmt_agent.runtime.base import RuntimeFailed
from ocmt_agent.runtime.process_home import AgentHome, Record
from ocmt_agent.runtime.processes import ProcessId
from ocmt_agent.runtime.removal import remove_folder


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    file = tmp_path / "precious"
    file.write_text("as it was")
    return file


def test_a_file_is_replaced_and_a_link_in_its_place_is_not_written_through(
    tmp_path: Path, precious: Path
) -> None:
    home = AgentHome(tmp_path)
    target = home.config
    target.symlink_to(precious)
    (tmp_path / f".openclaw.json.{os.getpid()}").symlink_to(precious)

    home.write_config({})

    assert precious.read_text() == "as it was"
    assert not target.is_symlink()
    assert target.read_text() == "{}"
    assert target.stat().st_mode & 0o777 == 0o600


def test_a_link_in_place_of_the_log_is_neither_read_written_nor_emptied(
    tmp_path: Path, precious: Path
) -> None:
    home = AgentHome(tmp_path / "ada")
    home.make()
    precious.write_bytes(b"x" * 6 * 1024 * 1024)
    (home.folder / "gateway.log").symlink_to(precious)

    home.bound_log()
    assert home.log_tail(5) == ""
    with pytest.raises(OSError, match="symbolic links"):
        home.open_log()
    assert precious.stat().st_size == 6 * 1024 * 1024


def test_a_long_log_is_emptied_under_its_writer_and_one_older_part_is_kept(tmp_path: Path) -> None:
    home = AgentHome(tmp_path / "ada")
    home.make()
    writer = home.open_log()
    try:
        os.write(writer, b"old\n" * 2 * 1024 * 1024)
        home.bound_log()
        os.write(writer, b"new\n")
    finally:
        os.close(writer)

    assert home.log_tail(10) == "new"
    assert (home.folder / "gateway.log").stat().st_size == 4
    assert (home.folder / "gateway.log.1").stat().st_size == 8 * 1024 * 1024


def test_a_record_is_read_as_it_was_saved_and_a_damaged_one_is_none(tmp_path: Path) -> None:
    home = AgentHome(tmp_path / "ada")
    home.make()
    assert home.record() is None
    record = Record(ProcessId(12, 345), 6789, "hash")
    home.save(record)
    assert home.record() == record

    for damaged in ("", "[]", "{}", '{"pid": "x"}', "\0"):
        (home.folder / "process.json").write_text(damaged)
        assert home.record() is None


def test_removing_a_folder_leaves_what_its_links_lead_to(tmp_path: Path, precious: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("as it was")
    folder = tmp_path / "ada"
    (folder / "state").mkdir(parents=True)
    (folder / "state" / "file").symlink_to(precious)
    (folder / "state" / "folder").symlink_to(outside)

    remove_folder(folder)
    remove_folder(folder)  # nothing there is no error

    assert not folder.exists()
    assert precious.read_text() == "as it was"
    assert (outside / "file").read_text() == "as it was"


def test_a_folder_that_cannot_be_removed_is_reported(tmp_path: Path, precious: Path) -> None:
    (tmp_path / "ada").mkdir()

    with pytest.raises(RuntimeFailed, match=r"cannot be removed: .+ Remove it by hand"):
        remove_folder(tmp_path / "ada" / "..")
    assert precious.exists()


def test_a_folder_that_is_a_link_goes_and_what_it_leads_to_stays(
    tmp_path: Path, precious: Path
) -> None:
    link = tmp_path / "ada"
    link.symlink_to(precious.parent)

    remove_folder(link)

    assert not link.is_symlink()
    assert precious.exists()


def test_folders_nested_deeper_than_any_path_is_long_are_removed(tmp_path: Path) -> None:
    folder = tmp_path / "ada"
    folder.mkdir()
    inside = os.open(folder, os.O_RDONLY)
    for _ in range(5000):
        os.mkdir("d", dir_fd=inside)
        deeper = os.open("d", os.O_RDONLY, dir_fd=inside)
        os.close(inside)
        inside = deeper
    os.close(inside)

    remove_folder(folder)

    assert not folder.exists()
