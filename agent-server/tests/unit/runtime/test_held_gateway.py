"""Moving a state from one home to another, on a real file system."""

import os
from pathlib import Path

import pytest
from ocmt_agent.runtime.accounts import Account
from ocmt_agent.runtime.base import RuntimeFailed
from ocmt_agent.runtime.held_gateway import (
    are_on_one_disk,
    empty,
    end_hold,
    is_held,
    move_state,
    open_below,
    place_hold,
    place_hold_still,
)

ME = Account(os.geteuid(), os.getegid())


@pytest.fixture
def homes(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("before", "after"):
        (tmp_path / name / "state").mkdir(parents=True)
        (tmp_path / name / "config").mkdir()
    return tmp_path / "before", tmp_path / "after"


def test_everything_is_moved_and_the_folder_itself_stays(homes: tuple[Path, Path]) -> None:
    before, after = homes
    for name in ("a file", ".hidden", "-rf", "line\nbreak"):
        (before / "state" / name).write_text(name)
    (before / "state" / "deep" / "er").mkdir(parents=True)
    (before / "state" / "link").symlink_to("/etc")
    inode = (after / "state").stat().st_ino
    move_state(before, after, ME)
    assert (after / "state").stat().st_ino == inode
    names = {entry.name for entry in (after / "state").iterdir()}
    assert names == {"a file", ".hidden", "-rf", "line\nbreak", "deep", "link"}
    assert (after / "state" / "link").is_symlink()
    assert not (before / "state").exists()
    move_state(before, after, ME)  # repeated
    assert {entry.name for entry in (after / "state").iterdir()} == names


def test_a_move_that_was_cut_short_goes_on(homes: tuple[Path, Path]) -> None:
    before, after = homes
    (after / "state" / "moved").write_text("1")
    (before / "state" / "left").write_text("2")
    move_state(before, after, ME)
    assert {entry.name for entry in (after / "state").iterdir()} == {"moved", "left"}


@pytest.mark.parametrize("what", ["no target", "a folder in the way"])
def test_a_move_that_fails_loses_nothing_and_says_so(homes: tuple[Path, Path], what: str) -> None:
    before, after = homes
    (before / "state" / "one").mkdir()
    if what == "no target":
        (after / "state").rmdir()
    else:
        (after / "state" / "one" / "other").mkdir(parents=True)
    with pytest.raises(RuntimeFailed, match="cannot be moved"):
        move_state(before, after, ME)
    assert (before / "state" / "one").is_dir()


def test_open_files_are_found_by_their_folder(tmp_path: Path) -> None:
    file = tmp_path / "state" / "db.sqlite"
    file.parent.mkdir()
    with file.open("w"):
        assert open_below(str(tmp_path / "state"), [os.getpid()]) == {str(file)}
        assert open_below(str(tmp_path / "stat"), [os.getpid()]) == set()
    assert open_below(str(tmp_path / "state"), [os.getpid(), 2**22 - 1]) == set()


def test_what_a_spare_wrote_is_removed(homes: tuple[Path, Path]) -> None:
    _, home = homes
    (home / "state" / ".held").touch()
    (home / "state" / "agents" / "main").mkdir(parents=True)
    (home / "state" / "link").symlink_to(home / "config")
    empty(home)
    assert list((home / "state").iterdir()) == []
    assert (home / "config").is_dir()


def test_ending_a_hold_that_was_not_placed_does_nothing(homes: tuple[Path, Path]) -> None:
    _, home = homes
    (home / "state" / ".held").touch()
    place_hold(home)
    place_hold_still(home)
    assert not is_held(home), "by an earlier try"
    for _ in range(2):
        end_hold(home)
        assert list((home / "config").iterdir()) == []


def test_homes_on_two_disks_are_told_apart(tmp_path: Path) -> None:
    assert are_on_one_disk(tmp_path, tmp_path / ".")
    assert not are_on_one_disk(tmp_path, Path("/proc"))
    assert not are_on_one_disk(tmp_path, tmp_path / "missing")
