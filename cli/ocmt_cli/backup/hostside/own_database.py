"""Copies the servers' own SQLite databases, which are safe to open: agents cannot write them."""

import os
import shutil
import sqlite3
import stat
import tempfile
import time
from pathlib import Path
from typing import IO

from ocmt_common.atomic_files import remove_drafts, replacing_file

from ocmt_cli.backup.hostside.no_follow import Refused, own_folder


def dump_database(database: Path, out: IO[bytes]) -> None:
    """Copy a database to `out`, even while it is in use (sqlite.org/backup.html).

    Raises `Refused` if another user could have written to it, or if it is damaged.
    """
    place = own_folder(database.parent) / database.name
    _require_own(place)
    with tempfile.TemporaryDirectory(dir=place.parent) as folder:
        copy = Path(folder, "copy.db")
        source = sqlite3.connect(f"file:{place}?mode=ro", uri=True)
        target = sqlite3.connect(copy)
        source.backup(target, pages=512, sleep=0.01)
        target.execute("PRAGMA journal_mode = DELETE")
        problems = target.execute("PRAGMA integrity_check").fetchall()
        target.close()
        source.close()
        if problems != [("ok",)]:
            raise Refused(f"{place} is damaged: {problems[0][0]}")
        with copy.open("rb") as file:
            shutil.copyfileobj(file, out)


def restore_database(database: Path, source: IO[bytes], out: IO[str]) -> None:
    """Replace a database atomically. The new one gets the owner of the old one or of the folder.

    A complete copy of the old database is kept beside it, and its path is written to `out`. The old
    journals are removed, since they do not belong to the new database. Raises `Refused`.
    """
    database.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    place = own_folder(database.parent) / database.name
    owner = place.parent.stat()
    there = os.path.lexists(place)
    if there:
        _require_own(place)
        owner = place.stat()
    remove_drafts(place)
    with replacing_file(place) as draft:
        shutil.copyfileobj(source, draft)
        draft.flush()
        os.fsync(draft.fileno())
        os.fchown(draft.fileno(), owner.st_uid, owner.st_gid)
        if there:
            out.write(str(_keep_aside(place)))
        # Only once the new database is on disk, since the old one needs them.
        for ending in ("-wal", "-shm", "-journal"):
            Path(f"{place}{ending}").unlink(missing_ok=True)


def _keep_aside(place: Path) -> Path:
    """Copy a database that is not in use, including its journals. Returns the copy's path."""
    kept = place.with_name(f"{place.name}.before-restore-{time.time_ns() // 1_000_000}")
    with replacing_file(kept) as draft:
        source, target = sqlite3.connect(place), sqlite3.connect(draft.name)
        try:
            source.backup(target)
            problem = None
        except sqlite3.DatabaseError as error:
            problem = error
        finally:
            target.close()
            source.close()
        if problem is not None:  # it cannot be read, so it is kept as it is
            draft.seek(0)
            draft.truncate()
            with place.open("rb") as damaged:
                shutil.copyfileobj(damaged, draft)
    return kept


def _require_own(place: Path) -> None:
    seen = place.lstat()
    if not stat.S_ISREG(seen.st_mode):
        raise Refused(f"{place} is not a regular file")
    if seen.st_nlink > 1:
        raise Refused(
            f"{place} has a second name (a hard link), through which others may change it"
        )
    if seen.st_uid not in (0, place.parent.stat().st_uid):
        raise Refused(f"{place} and its folder belong to different users")
