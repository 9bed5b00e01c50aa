"""The servers' own SQLite databases, which SQLite may open: no agent can have written them."""

import os
import shutil
import sqlite3
import stat
import tempfile
from pathlib import Path
from typing import IO

from ocmt_common.atomic_files import remove_drafts, replacing_file

from ocmt_cli.backup.hostside.no_follow import Refused, own_folder


def dump_database(database: Path, out: IO[bytes]) -> None:
    """Copy it while its server writes: SQLite's online backup (sqlite.org/backup.html).

    Raises `Refused` when others may have put it there.
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


def restore_database(database: Path, source: IO[bytes]) -> None:
    """Replace it in one step. Owner and mode are the old one's, or the folder's owner's.

    The journals of the old database must not be applied to the new one. Raises `Refused`.
    """
    database.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    place = own_folder(database.parent) / database.name
    owner = place.parent.stat()
    if os.path.lexists(place):
        _require_own(place)
        owner = place.stat()
    remove_drafts(place)
    with replacing_file(place) as draft:
        shutil.copyfileobj(source, draft)
        draft.flush()
        os.fsync(draft.fileno())
        os.fchown(draft.fileno(), owner.st_uid, owner.st_gid)
        # Only now that the new database is on disk: the old one needs them.
        for ending in ("-wal", "-shm", "-journal"):
            Path(f"{place}{ending}").unlink(missing_ok=True)


def _require_own(place: Path) -> None:
    seen = place.lstat()
    if not stat.S_ISREG(seen.st_mode):
        raise Refused(f"{place} is not a file, but perhaps a link to one")
    if seen.st_nlink > 1:
        raise Refused(f"{place} has another name too (a hard link), by which others may change it")
    if seen.st_uid not in (0, place.parent.stat().st_uid):
        raise Refused(f"{place} is another user's than its folder")
