"""The servers' own databases are opened with SQLite only if no other user can have planted them."""

import io
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from ocmt_cli.backup.hostside.no_follow import Refused
from ocmt_cli.backup.hostside.own_database import dump_database, stage_database
from ocmt_cli.deploy.hostside.restored_data import put_in_place


def _database(place: Path) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(place)) as made, made:
        made.execute("create table t (a)")
        made.execute("insert into t values ('kept')")
    return place


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return _database(tmp_path / "data" / "management.db")


def _a_link(own: Path) -> Path:
    other = _database(own.parent / "other.db")
    own.unlink()
    own.symlink_to(other)
    return own


def _a_hard_link(own: Path) -> Path:
    own.with_name("other.db").hardlink_to(own)
    return own


def _below_a_link_of_a_user(own: Path) -> Path:
    link = own.parent.parent / "link"
    link.symlink_to(own.parent)
    os.chown(link, 1000, 1000, follow_symlinks=False)
    return link / own.name


def _below_a_link_of_a_user_behind_one_of_root(own: Path) -> Path:
    link = own.parent.parent / "roots"
    link.symlink_to(_below_a_link_of_a_user(own).parent)
    return link / own.name


def _in_a_folder_open_to_all(own: Path) -> Path:
    own.parent.chmod(0o777)
    return own


def _in_a_folder_of_another_user(own: Path) -> Path:
    os.chown(own.parent.parent, 1000, 1000)
    os.chown(own.parent, 1001, 1001)
    os.chown(own, 1001, 1001)
    return own


def _of_another_user(own: Path) -> Path:
    os.chown(own, 1000, 1000)
    return own


def _of_an_agent(own: Path) -> Path:
    (own.parent / "agent.db").touch()
    state = own.parent / "agents" / "u1" / "state"
    place = _database(state / "x.db")
    os.chown(state, 1000, 1000)
    os.chown(place, 1000, 1000)
    return place


def _a_pipe(own: Path) -> Path:
    own.unlink()
    os.mkfifo(own)
    return own


@pytest.mark.parametrize(
    "make",
    [
        _a_link,
        _a_hard_link,
        _below_a_link_of_a_user,
        _below_a_link_of_a_user_behind_one_of_root,
        _in_a_folder_open_to_all,
        _in_a_folder_of_another_user,
        _of_another_user,
        _of_an_agent,
        _a_pipe,
    ],
)
def test_a_database_that_others_may_have_planted_is_not_opened(
    own: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], Path]
) -> None:
    place = make(own)
    monkeypatch.setattr(sqlite3, "connect", None)
    with pytest.raises(Refused):
        dump_database(place, io.BytesIO())
    with pytest.raises(Refused):
        stage_database(place, io.BytesIO(b"new"), io.StringIO())
    names = {one.name for one in own.parent.iterdir()}
    assert names <= {"management.db", "other.db", "agent.db", "agents"}
    assert own.is_fifo() or own.read_bytes() != b"new"


def _restore(place: Path, content: bytes) -> Path:
    """Replace the database. Returns where the old one is kept."""
    staged = io.StringIO()
    stage_database(place, io.BytesIO(content), staged)
    move = {"kind": "sqlite", "staged": staged.getvalue(), "place": str(place)}
    kept = put_in_place(move, "before-restore-1")
    assert kept is not None
    return kept


def _plain(own: Path) -> Path:
    return own


def _behind_roots_links(own: Path) -> Path:
    """Folders as systemd's DynamicUser= creates them."""
    (own.parent.parent / "first").symlink_to("second")
    (own.parent.parent / "second").symlink_to(own.parent)
    return own.parent.parent / "first" / ".." / "data" / own.name


def _of_the_servers_user(own: Path) -> Path:
    own.parent.chmod(0o700)
    os.chown(own.parent, 990, 990)
    os.chown(own, 990, 990)
    return own


@pytest.mark.parametrize("make", [_plain, _behind_roots_links, _of_the_servers_user])
def test_the_servers_own_database_is_copied_and_comes_back(
    own: Path, make: Callable[[Path], Path]
) -> None:
    place = make(own)
    owner = own.stat().st_uid
    copy = io.BytesIO()
    dump_database(place, copy)
    with closing(sqlite3.connect(own)) as changed, changed:
        changed.execute("delete from t")
    own.with_name(".management.db.restore").symlink_to("/etc/passwd")  # a planted draft
    kept = _restore(place, copy.getvalue())
    assert own.stat().st_uid == owner
    assert own.stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(own)) as restored:
        assert restored.execute("select a from t").fetchall() == [("kept",)]
    assert {one.name for one in own.parent.iterdir()} == {"management.db", kept.name}
    with closing(sqlite3.connect(kept)) as before:
        assert before.execute("select a from t").fetchall() == []


@pytest.mark.parametrize("old", [b"", b"not a database", b"SQLite format 3\0 and damaged"])
def test_a_database_that_cannot_be_read_is_kept_as_it_is(own: Path, old: bytes) -> None:
    own.write_bytes(old)
    kept = _restore(own, b"new")
    assert own.read_bytes() == b"new"
    assert kept.read_bytes() == old


@pytest.mark.parametrize(
    "text",
    [b"not a database", b"SQLite format 3\0 and damaged", b"SQLite format 3\0" + b"x" * 8192],
)
def test_a_damaged_database_is_refused_with_its_name(own: Path, text: bytes) -> None:
    own.write_bytes(text)
    with pytest.raises(Refused, match=rf"^{own} is damaged: "):
        dump_database(own, io.BytesIO())


def test_what_is_only_in_the_log_is_kept_too(own: Path) -> None:
    with closing(sqlite3.connect(own)) as used:
        used.execute("pragma journal_mode = wal")
        with used:
            used.execute("insert into t values ('in the log')")
        # Copied as a killed server leaves it: this process would clear the log when it ends.
        for ending in ("", "-wal"):
            shutil.copy(f"{own}{ending}", f"{own}.copy{ending}")
    for ending in ("", "-wal"):
        shutil.move(f"{own}.copy{ending}", f"{own}{ending}")
    with closing(sqlite3.connect(_restore(own, b"new"))) as kept:
        assert ("in the log",) in kept.execute("select a from t").fetchall()


def test_agents_without_a_user_are_left_out(tmp_path: Path) -> None:
    place = tmp_path / "data" / "agent.db"
    place.parent.mkdir()
    with closing(sqlite3.connect(place)) as made, made:
        made.execute("create table agents (user_id text primary key, spare integer not null)")
        made.execute(
            "create table events (user_id text not null references agents on delete cascade)"
        )
        for name, spare in (("ada", 0), ("agent.0123456789abcdef", 1), ("ben", 0)):
            made.execute("insert into agents values (?, ?)", (name, spare))
            made.execute("insert into events values (?)", (name,))

    out = io.BytesIO()
    dump_database(place, out)

    copy = tmp_path / "copy.db"
    copy.write_bytes(out.getvalue())
    with closing(sqlite3.connect(copy)) as read, closing(sqlite3.connect(place)) as own:
        for table in ("agents", "events"):
            users = f"select user_id from {table} order by 1"
            assert read.execute(users).fetchall() == [("ada",), ("ben",)]
            assert len(own.execute(users).fetchall()) == 3
