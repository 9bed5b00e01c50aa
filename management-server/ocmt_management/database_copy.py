"""Copies the embedded database before a migration, since migrations cannot be undone.

The server cannot copy PostgreSQL; its operator uses PostgreSQL's tools or `ocmt backup`.
"""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

_KEPT = 2


def copy_before_migration(database: Path, *, revision: str) -> Path:
    """Copy the database, which is at `revision`, beside itself.

    Raises `OSError` or `sqlite3.Error`. The caller holds the migrations' lock. Keeps the newest
    copies and removes older ones.
    """
    target = database.with_name(f"{database.name}.at-{revision}")
    draft = target.with_name(f"{target.name}.new")
    draft.unlink(missing_ok=True)
    os.close(os.open(draft, os.O_CREAT | os.O_EXCL, 0o600))
    try:
        with closing(sqlite3.connect(database, isolation_level=None)) as connection:
            connection.execute("VACUUM INTO ?", (str(draft),))
        draft.replace(target)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    copies = sorted(
        database.parent.glob(f"{database.name}.at-*"), key=lambda one: one.stat().st_mtime
    )
    for old in copies[:-_KEPT]:
        old.unlink()
    return target
