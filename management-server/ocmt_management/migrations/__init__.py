"""Migrates the database to this release's tables, with Alembic on SQLite and PostgreSQL alike.

Runs at startup and with `python -m ocmt_management migrate`, in one transaction under a lock, so
that servers that start together migrate once and a failed migration changes nothing.
"""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import structlog
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.script.revision import RevisionError
from alembic.util import CommandError
from ocmt_common.file_lock import lock
from ocmt_common.problems import Problem
from sqlalchemy import URL, Connection, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from ocmt_management.database_copy import copy_before_migration
from ocmt_management.db import READ_ONLY, create_sqlite_file, is_read_only, make_engine, writing

log = structlog.get_logger(__name__)

_ADVISORY_LOCK = 0x6F636D74  # "ocmt"


class MigrationError(Exception):
    """The database could not be migrated. `str()` says why and what to do."""


async def revision_of(url: URL) -> str | None:
    """The database's revision; `None` before its first migration.

    Raises `MigrationError` when the database does not answer.
    """
    if url.get_backend_name() == "sqlite" and not os.path.exists(str(url.database)):  # noqa: ASYNC240, PTH110 (at a start, or in a command)
        return None
    engine = make_engine(url)
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(_revision)
    except Problem as problem:
        raise MigrationError(problem.detail) from problem
    except (SQLAlchemyError, OSError) as error:
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise MigrationError(
            f"The database cannot be read: {reason}. Check DATABASE_URL."
        ) from error
    finally:
        await engine.dispose()


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def alembic_config(connection: Connection) -> Config:
    """Alembic's configuration for this package's migrations on an open connection."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    return config


async def migrate(url: URL, *, expand_only: bool = False) -> None:
    """Bring the database at `url` to the newest revision. Raises `MigrationError`.

    `expand_only` leaves out revisions that remove something (`contract = True` in their module); a
    later call applies them, when no older release is running.
    """
    try:
        if url.get_backend_name() == "sqlite":
            create_sqlite_file(url)
        async with _migrating(url) as connection:
            await connection.run_sync(_upgrade, expand_only)
    except Problem as problem:
        raise MigrationError(problem.detail) from problem
    except (CommandError, RevisionError) as error:
        raise MigrationError(
            f"The database does not fit this release ({error}). It was probably migrated by a "
            "newer one: run that release, or restore the backup made before that."
        ) from error
    except (SQLAlchemyError, OSError) as error:
        if is_read_only(error):
            raise MigrationError(READ_ONLY) from error
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise MigrationError(
            f"The database could not be migrated and is unchanged. {type(error).__name__}: {reason}"
        ) from error
    log.info("database is up to date", database=url.get_backend_name())


def _upgrade(connection: Connection, expand_only: bool) -> None:
    config = alembic_config(connection)
    if not expand_only:
        command.upgrade(config, "head")
        return
    scripts = ScriptDirectory.from_config(config)
    current = MigrationContext.configure(connection).get_current_revision()
    pending = [*scripts.iterate_revisions("head", current or "base")][::-1]
    kinds = [bool(getattr(one.module, "contract", False)) for one in pending]
    expanding = kinds.index(True) if True in kinds else len(kinds)
    if not all(kinds[expanding:]):
        late = next(one for one, contracts in zip(pending, kinds, strict=True) if contracts)
        raise MigrationError(
            f"Migration {late.revision} removes what the running release needs, and later ones add "
            "what this release needs. First deploy the commit whose newest migration is "
            f"{late.revision}, then this one."
        )
    if expanding:
        command.upgrade(config, pending[expanding - 1].revision)


@asynccontextmanager
async def _migrating(url: URL) -> AsyncIterator[AsyncConnection]:
    """A connection in one transaction, under the migration lock."""
    engine = writing(make_engine(url))
    try:
        if url.get_backend_name() == "sqlite":
            with await asyncio.to_thread(lock, Path(f"{url.database}.migrating")):
                await _copied(url)
                async with engine.begin() as connection:
                    yield connection
        else:
            async with engine.begin() as connection:
                await connection.execute(
                    text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _ADVISORY_LOCK}
                )
                yield connection
    finally:
        await engine.dispose()


async def _copied(url: URL) -> None:
    """Copy an embedded database that is about to be migrated. Raises `MigrationError`."""
    revision = await revision_of(url)
    scripts = ScriptDirectory(str(Path(__file__).parent))
    known = {one.revision for one in scripts.walk_revisions()}
    if revision not in known or revision == scripts.get_current_head():
        return  # a new database, one of a newer release, or one that is up to date
    try:
        copy = await asyncio.to_thread(
            copy_before_migration, Path(str(url.database)), revision=str(revision)
        )
    except (OSError, sqlite3.Error) as error:
        raise MigrationError(
            f"The database was not migrated, because copying it first failed ({error}). Free as "
            f"much disk space as {url.database} takes, then start again."
        ) from error
    log.info("database copied before its migration", copy=str(copy))
