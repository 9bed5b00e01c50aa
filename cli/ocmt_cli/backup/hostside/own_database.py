"""Copies the servers' own SQLite databases, which are safe to open: agents cannot write them."""

import os
import shutil
import sqlite3
import stat
import tempfile
from contextlib import closing
from pathlib import Path
from typing import IO

from ocmt_common.atomic_files import remove_drafts, replacing_file

from ocmt_cli.backup.hostside.no_follow import Refused, own_folder


def dump_database(database: Path, out: IO[bytes]) -> None:
    """Copy a database to `out`, even while it is in use (sqlite.org/backup.html).

    An agent server's agents without a user are left out: after a restore, one that a user has
    claimed in the meantime would be handed out again, with that user's memory in its container.

    Raises `Refused` if another user could have written to it, or if it is damaged.
    """
    place = own_folder(database.parent) / database.name
    _require_own(place)
    with tempfile.TemporaryDirectory(dir=place.parent) as folder:
        copy = Path(folder, "copy.db")
        try:
            problem = _copy(place, copy)
        except sqlite3.DatabaseError as error:
            problem = str(error)
        if problem != "ok":
            raise Refused(f"{place} is damaged: {problem}")
        with copy.open("rb") as file:
            shutil.copyfileobj(file, out)


def _copy(place: Path, copy: Path) -> str:
    """Copy a database. Returns the first line of SQLite's check, "ok" if it found nothing."""
    with (
        closing(sqlite3.connect(f"file:{place}?mode=ro", uri=True)) as source,
        closing(sqlite3.connect(copy)) as target,
    ):
        source.backup(target, pages=512, sleep=0.01)
        target.execute("PRAGMA journal_mode = DELETE")
        _remove_spares(target)
        return str(target.execute("PRAGMA integrity_check").fetchone()[0])


def _remove_spares(database: sqlite3.Connection) -> None:
    """Delete the agents without a user; a database without that column has none."""
    columns = [name for _, name, *_ in database.execute("PRAGMA table_info(agents)")]
    if "spare" in columns:
        database.execute("PRAGMA foreign_keys = ON")  # their events go with them
        database.execute("DELETE FROM agents WHERE spare")
        database.commit()


def stage_database(database: Path, source: IO[bytes], out: IO[str]) -> None:
    """Write `source` beside a database that it is to replace; the new file's path goes to `out`.

    The new file has the owner of the old one or of the folder. Raises `Refused`.
    """
    database.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    place = own_folder(database.parent) / database.name
    owner = place.parent.stat()
    if os.path.lexists(place):
        _require_own(place)
        owner = place.stat()
    _write(staged_beside(place), source, (owner.st_uid, owner.st_gid))
    out.write(str(staged_beside(place)))


def stage_file(place: Path, source: IO[bytes], out: IO[str]) -> None:
    """Write `source` beside `place`, readable by root only; the new file's path goes to `out`."""
    place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    staged = staged_beside(own_folder(place.parent) / place.name)
    _write(staged, source, (0, 0) if os.geteuid() == 0 else (-1, -1))
    out.write(str(staged))


def staged_beside(place: Path) -> Path:
    """Where new data waits that is to replace `place`."""
    return place.with_name(f".{place.name}.restore")


def _write(staged: Path, source: IO[bytes], owner: tuple[int, int]) -> None:
    remove_drafts(staged)
    with replacing_file(staged) as draft:
        shutil.copyfileobj(source, draft)
        os.fchown(draft.fileno(), *owner)


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
