"""Agents' databases in backups: consistent files, which our code never opens as a database."""

import itertools
import os
import sqlite3
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ocmt_cli.backup.hostside import databases, dump, extents

MAGIC = bytes.fromhex("d9d505f920a163d7")


def _database(place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with sqlite3.connect(place) as made:
        made.execute("create table t (a)")
    made.close()


def _journal_naming(victim: Path) -> bytes:
    """A hot rollback journal whose super-journal is `victim` (sqlite.org/fileformat2.html, 3.1)."""
    name = os.fsencode(victim)
    head = (MAGIC + struct.pack(">5I", 0, 1, 2, 512, 4096)).ljust(512, b"\0")
    tail = struct.pack(">2I", len(name), sum(name)) + MAGIC
    return head + struct.pack(">I", 262145) + name + tail


@pytest.mark.parametrize("name", ["x.db", "deep/down/memory.sqlite", ".hidden", "x.db-journal"])
def test_a_journal_that_names_a_file_of_the_host_deletes_nothing(agents: Any, name: str) -> None:
    victims = [agents.folder / ".env", agents.folder / "management.db", agents.state("u2") / "own"]
    for number, victim in enumerate(victims):
        victim.write_text("precious")
        place = agents.state() / f"{number}" / name
        _database(place)
        Path(f"{place}-journal").write_bytes(_journal_naming(victim))
    assert agents.back_up() == []
    for number, victim in enumerate(victims):
        assert victim.read_text() == "precious"
        place = agents.state() / f"{number}" / name
        inside = str(place.relative_to(agents.place))
        assert agents.stored_bytes(inside) == place.read_bytes()
        assert agents.stored_bytes(f"{inside}-journal") == _journal_naming(victim)
    assert agents.restore() == []
    assert all(victim.read_text() == "precious" for victim in victims[:2])


# Ends without a commit: in turn with a full log, with a hot journal, and in the middle of neither.
_ABANDON = """
import os, sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("pragma journal_mode = " + sys.argv[2])
database.execute("pragma cache_size = 5")
database.execute("create table t (a)")
database.execute("begin")
database.executemany("insert into t values (?)", [("kept" * 500,)] * 100)
database.execute("commit")
if sys.argv[3] == "half":
    database.execute("begin")
    database.execute("update t set a = replace(a, 'kept', 'lost')")
os._exit(0)
"""


@pytest.mark.parametrize(
    ("mode", "moment", "beside"),
    [("wal", "half", "-wal"), ("wal", "whole", "-wal"), ("delete", "half", "-journal"),
     ("truncate", "half", "-journal"), ("delete", "whole", "")],
)  # fmt: skip
def test_a_database_in_use_is_recovered_when_it_is_opened_after_a_restore(
    agents: Any, mode: str, moment: str, beside: str
) -> None:
    place = agents.state() / "m.db"
    words = [sys.executable, "-c", _ABANDON, str(place), mode, moment]
    subprocess.run(words, check=True)
    assert not beside or Path(f"{place}{beside}").stat().st_size > 0
    before = {file.name: file.read_bytes() for file in place.parent.iterdir()}
    assert agents.back_up() == []
    assert {file.name: file.read_bytes() for file in place.parent.iterdir()} == before
    assert agents.restore() == []
    assert Path(f"{place}{beside}").exists()
    opened = sqlite3.connect(place)
    assert opened.execute("pragma integrity_check").fetchall() == [("ok",)]
    assert opened.execute("select count(*), count(distinct a) from t").fetchall() == [(100, 1)]
    assert opened.execute("select a from t limit 1").fetchone() == ("kept" * 500,)
    opened.close()


def _in_place(place: Path, number: int) -> None:
    with place.open("r+b") as file:
        file.seek(100)
        file.write(struct.pack(">I", number))


def _replaced(place: Path, number: int) -> None:
    versions = [place.with_name("version0"), place.with_name("version1")]
    if not versions[1].exists():
        for version in versions:
            version.write_bytes(place.read_bytes())
    other = place.with_name("other")
    other.hardlink_to(versions[number % 2])
    other.replace(place)


def _its_journal(place: Path, number: int) -> None:
    Path(f"{place}-journal").write_bytes(struct.pack(">I", number))


def _its_log(place: Path, number: int) -> None:
    Path(f"{place}-wal").write_bytes(struct.pack(">I", number) * 8)


@pytest.mark.parametrize("change", [_in_place, _replaced, _its_journal, _its_log])
def test_a_database_that_changes_during_every_copy_is_left_out_alone(
    agents: Any, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path, int], None]
) -> None:
    place = agents.state() / "x.db"
    place.write_bytes(b"SQLite format 3\0" + bytes(1000))
    (agents.state() / "memory.md").write_text("remember")
    (agents.state("u2") / "memory.md").write_text("me too")
    copied, numbers = extents.copied, itertools.count()

    def then_changed(*words: Any) -> None:
        copied(*words)
        change(place, next(numbers))

    monkeypatch.setattr(databases, "copied", then_changed)
    monkeypatch.setattr(dump, "SETTLE_S", 0.3)
    left_out = agents.back_up_in_this_process()
    told = [one for one in left_out if one.path == "state/x.db"]
    assert [one.agent for one in told] == ["u1"]
    assert "keeps changing" in told[0].reason
    assert not {"u1/state/x.db", "u1/state/x.db-wal"} & set(agents.stored())
    assert agents.stored_bytes("u1/state/memory.md") == b"remember"
    assert agents.stored_bytes("u2/state/memory.md", "u2") == b"me too"


def test_changing_databases_are_waited_for_in_sum_and_not_each(
    agents: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [agents.state() / f"{number}.db" for number in range(10)]
    for place in places:
        place.write_bytes(b"SQLite format 3\0" + bytes(1000))
    copied, numbers = extents.copied, itertools.count()

    def then_changed(*words: Any) -> None:
        copied(*words)
        for place in places:
            _in_place(place, next(numbers))

    monkeypatch.setattr(databases, "copied", then_changed)
    monkeypatch.setattr(dump, "SETTLE_S", 1)
    started = time.monotonic()
    left_out = agents.back_up_in_this_process()
    assert 1 < time.monotonic() - started < 5
    assert [one.path for one in left_out] == [f"state/{number}.db" for number in range(10)]
