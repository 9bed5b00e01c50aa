"""The database: one engine, and the only two ways to open a database session.

`Database.read()` and `Database.write()` are transactions, committed once at their end; no other
code commits. They also turn an unreachable database or a full disk into problems: all requests get
the same response, and work again once the cause is gone.
"""

import os
import re
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import structlog
from ocmt_common.problems import Problem
from sqlalchemy import (
    URL,
    Connection,
    DateTime,
    Dialect,
    ExceptionContext,
    MetaData,
    event,
    select,
    text,
)
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import TypeDecorator

from ocmt_management.database_url import ROOT_CERTIFICATE, tls_context

log = structlog.get_logger(__name__)

_BUSY_TIMEOUT_S = 5
_CONNECT_TIMEOUT_S = 5
_COMMAND_TIMEOUT_S = 15
_POOL_TIMEOUT_S = 10
_WRITES = "ocmt_writes"
_AFTER_COMMIT = "ocmt_after_commit"
# SQLSTATE classes: connection exception, insufficient resources, operator intervention.
_UNAVAILABLE_STATES = ("08", "53", "57P")
_DISK_FULL_STATE = "53100"
_READ_ONLY_STATE = "25006"
# A serialisation failure, a deadlock, an unavailable lock.
_CONFLICT_STATES = ("40001", "40P01", "55P03")
# An undefined table or column; SQLite has no codes for them.
_OTHER_TABLES_STATES = ("42P01", "42703")
_NO_SUCH = re.compile(r"^no such (table|column)|has no column named")
OTHER_RELEASE = (
    "The database's tables are those of another release, so this one cannot use them. Nothing is "
    "lost. Operator: run the release that migrated the database, or restore the copy made "
    "before that migration (docs/operations.md)."
)
READ_ONLY = (
    "The database is read-only now, so nothing is saved. Operator: make it writable again (after a "
    "failover: point DATABASE_URL at the primary; a full disk: free some space); no restart is "
    "needed."
)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC datetime on both databases; SQLite itself drops the zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a datetime without a time zone must not be stored")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None or value.tzinfo is not None:
            return value
        return value.replace(tzinfo=UTC)


class Base(DeclarativeBase):
    """Base of every table. With fixed names, migrations find constraints on both databases."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: UtcDateTime}  # noqa: RUF012 (SQLAlchemy's own idiom)


class Database:
    """The running server's database. `close` it at the end."""

    def __init__(self, url: URL) -> None:
        self._fitting: set[str | None] = set()
        self._file = Path(str(url.database))
        self._engine = make_engine(url, command_timeout_s=_COMMAND_TIMEOUT_S)
        self._readers = async_sessionmaker(self._engine, expire_on_commit=False)
        self._writers = async_sessionmaker(writing(self._engine), expire_on_commit=False)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A reading transaction: on SQLite it does not wait for writers."""
        with _problems():
            async with self._readers.begin() as session:
                yield session

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        """A writing transaction: committed at the end, rolled back on an exception.

        It begins with its first statement. On SQLite it holds the only write lock from then on, so
        do no network I/O between that statement and the end.
        """
        with _problems():
            async with self._writers.begin() as session:
                yield session
        for action in session.info.pop(_AFTER_COMMIT, ()):
            action()

    async def ping(self) -> None:
        """Raise `Problem` if the database does not answer or is read-only."""
        async with self.read() as session:
            if self._engine.dialect.name == "sqlite":
                await session.execute(text("SELECT 1"))
                # SQLite reports this only on a write.
                read_only = self._file.exists() and not os.access(self._file, os.W_OK)
            else:
                shown = await session.scalar(text("SHOW transaction_read_only"))
                read_only = shown == "on"
        if read_only:
            raise _read_only(None)

    async def check(self) -> str | None:
        """Like `ping`; also raises `Problem` when the tables lack a column that this release needs.

        A release may run on the tables of a newer one, so the columns are checked, once for each
        revision that the database has. Returns that revision.
        """
        await self.ping()
        async with self.read() as session:
            known = text("SELECT version_num FROM alembic_version")
            revision: str | None = await session.scalar(known)
            if revision not in self._fitting:
                for table in Base.metadata.sorted_tables:
                    await session.execute(select(table).limit(0))
                self._fitting.add(revision)
        return revision

    async def close(self) -> None:
        await self._engine.dispose()


def after_commit(session: AsyncSession, action: Callable[[], None]) -> None:
    """Call `action` after the transaction is committed; not if it is rolled back.

    For actions that need the committed data, such as sending a mail. `action` must not block.
    """
    session.info.setdefault(_AFTER_COMMIT, []).append(action)


def writing(engine: AsyncEngine) -> AsyncEngine:
    """The same engine and pool, with transactions that take SQLite's write lock as they begin."""
    return engine.execution_options(**{_WRITES: True})


def make_engine(url: URL, *, command_timeout_s: float | None = None) -> AsyncEngine:
    """An engine for SQLite or PostgreSQL.

    `command_timeout_s` limits every PostgreSQL command, since a server may accept connections and
    never answer. Migrations run without it; SQLite ignores it.
    """
    if url.get_backend_name() == "sqlite":
        return _sqlite_engine(url)
    connect_args: dict[str, Any] = {
        "timeout": _CONNECT_TIMEOUT_S,
        "command_timeout": command_timeout_s,
        "async_creator_fn": _connect_postgresql,
        # A pooler (PgBouncer in transaction mode) may give each transaction another session, which
        # lacks our prepared statements or has others of the same name.
        "statement_cache_size": 0,
        "prepared_statement_cache_size": 0,
        "prepared_statement_name_func": lambda: "",
    }
    context = tls_context(url)
    if context is not None:
        connect_args["ssl"] = context
    engine = create_async_engine(
        url.difference_update_query([ROOT_CERTIFICATE]),
        pool_pre_ping=True,
        pool_timeout=_POOL_TIMEOUT_S,
        connect_args=connect_args,
    )
    _drop_read_only_connections(engine)
    return engine


def _drop_read_only_connections(engine: AsyncEngine) -> None:
    """Drop pooled connections that would stay read-only after the database is writable again."""

    @event.listens_for(engine.sync_engine, "handle_error")
    def refused(context: ExceptionContext) -> None:
        if _sqlstate(context.original_exception) == _READ_ONLY_STATE:
            context.is_disconnect = True

    @event.listens_for(engine.sync_engine, "checkin")
    def given_back(connection: Any, record: Any) -> None:
        # Reported by the server when the connection was opened.
        settings = connection.driver_connection.get_settings() if connection else None
        if "on" in (
            getattr(settings, "default_transaction_read_only", "off"),
            getattr(settings, "in_hot_standby", "off"),
        ):
            record.invalidate()


async def _connect_postgresql(*args: Any, **kwargs: Any) -> asyncpg.Connection:
    # Errors of `connect` itself are not wrapped by SQLAlchemy: a refused port is a bare OSError.
    try:
        return await asyncpg.connect(*args, **kwargs)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise _unavailable(error) from error


def _sqlite_engine(url: URL) -> AsyncEngine:
    # mode=rw: a missing database file is an error instead of a new empty database.
    path = Path(str(url.database)).absolute()
    engine = create_async_engine(
        url.set(database=f"file:{path}", query={"mode": "rw", "uri": "true"}),
        connect_args={"timeout": _BUSY_TIMEOUT_S},
    )

    @event.listens_for(engine.sync_engine, "connect")
    def configure(connection: Any, _: object) -> None:
        # Keep Python's driver from beginning transactions; `begin` below does.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = NORMAL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Connection) -> None:
        # A deferred transaction that begins to write after another has written fails at once,
        # without waiting for the busy timeout, so writers take the lock first.
        writes = connection.get_execution_options().get(_WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    @event.listens_for(engine.sync_engine, "invalidate")
    def invalidated(connection: Any, *_: object) -> None:
        # A cancelled task's connection is closed, but keeps SQLite's write lock for as long as
        # Python keeps the interrupted cursor.
        with suppress(sqlite3.Error, ValueError):  # one that is closed or broken
            connection.rollback()

    return engine


def create_sqlite_file(url: URL) -> None:
    """Create the embedded database's folder and file, readable by this server's user only."""
    path = Path(str(url.database))
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    path.chmod(0o600)


def _unavailable(cause: BaseException) -> Problem:
    # Only the first line: the rest of a database's message may quote data.
    reason = (str(getattr(cause, "orig", None) or cause).splitlines() or [""])[0]
    log.error("database unavailable", reason=reason, kind=type(cause).__name__)
    return Problem(
        503,
        "database-unavailable",
        "The database does not answer. Nothing is lost; try again in a moment. Operator: check "
        "that the database runs and that DATABASE_URL is right.",
        retry_after_s=5,
    )


def _read_only(cause: BaseException | None) -> Problem:
    log.error("database is read-only", kind=type(cause).__name__ if cause else None)
    return Problem(503, "database-unavailable", READ_ONLY, retry_after_s=5)


def is_read_only(error: BaseException) -> bool:
    """Whether a statement failed because the database is read-only."""
    cause = getattr(error, "orig", error)
    return _sqlstate(cause) == _READ_ONLY_STATE or "readonly database" in str(cause)


def _sqlstate(error: BaseException | None) -> str:
    return getattr(error, "sqlstate", None) or ""


class _problems:
    """Turns database failures into problems; other exceptions pass through."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, PoolTimeoutError | TimeoutError):
            raise _unavailable(error) from error
        if not isinstance(error, DBAPIError):
            return
        state = _sqlstate(error.orig)
        if is_read_only(error):
            raise _read_only(error) from error
        if state in _OTHER_TABLES_STATES or _NO_SUCH.search(str(error.orig)):
            log.error("database tables do not fit this release", kind=type(error.orig).__name__)
            raise Problem(503, "database-unavailable", OTHER_RELEASE, retry_after_s=30) from error
        if state in _CONFLICT_STATES:
            raise Problem(
                503,
                "database-unavailable",
                "Another request changed the same data, so nothing was saved. Try again.",
                retry_after_s=1,
            ) from error
        if state == _DISK_FULL_STATE or "disk is full" in str(error.orig):
            raise Problem(
                507,
                "disk-full",
                "The database's disk is full, so nothing was saved. Operator: free some space; "
                "no restart is needed.",
                retry_after_s=30,
            ) from error
        gone = isinstance(error, OperationalError | InterfaceError) or error.connection_invalidated
        if gone or state.startswith(_UNAVAILABLE_STATES):
            raise _unavailable(error) from error
