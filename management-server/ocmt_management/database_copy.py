"""Copies the embedded database before a migration, since migrations cannot be undone.

The server cannot copy PostgreSQL; its operator uses PostgreSQL's tools or `ocmt backup`.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from ocmt_common.atomic_files import remove_drafts, replacing_file

_KEPT = 2


def copy_before_migration(database: Path, *, revision: str) -> Path:
    """Copy the database, which is at `revision`, to a file beside it and return the file's path.

    Removes all but the two newest copies. The caller holds the migration lock. Raises `OSError` or
    `sqlite3.Error`.
    """
    target = database.with_name(f"{database.name}.at-{revision}")
    remove_drafts(target)
    with (
        replacing_file(target) as draft,
        closing(sqlite3.connect(database, isolation_level=None)) as connection,
    ):
        connection.execute("VACUUM INTO ?", (draft.name,))
    copies = sorted(
        database.parent.glob(f"{database.name}.at-*"), key=lambda one: one.stat().st_mtime
    )
    for old in copies[:-_KEPT]:
        old.unlink()
    return target
