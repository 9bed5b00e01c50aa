"""A copy of the embedded database before it is migrated: migrations go one way.

PostgreSQL has its own means, and `ocmt backup`; a server cannot copy it.
"""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

_KEPT = 2


def copy_before_migration(database: Path, *, revision: str) -> Path:
    """Copy the database, which is at `revision`, beside itself.

    Raises `OSError` or `sqlite3.Error`. Called with the migrations' lock held. The last copies are
    kept, the older ones removed.
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
