"""The database gone, full, behind or ahead: clear answers, and recovery without a restart."""

# ruff: noqa: ASYNC240 (a rename in a test blocks nothing)

import asyncio
import os
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from alembic import command
from fastapi import FastAPI
from ocmt_common.problems import Problem
from ocmt_management.database_url import parse_database_url
from ocmt_management.db import Database, after_commit, create_sqlite_file, make_engine
from ocmt_management.migrations import MigrationError, alembic_config, migrate
from ocmt_management.settings import ManagementSettings
from sqlalchemy import URL, Connection, event, inspect, text

pytestmark = pytest.mark.both_databases

ADA = "ada@example.com"
AddLater = Callable[[list[tuple[str, bool]]], None]
SignIn = Callable[[str], Awaitable[httpx2.AsyncClient]]


async def test_models_and_migrations_agree(database_url: str) -> None:
    url = parse_database_url(database_url)
    await migrate(url)

    engine = make_engine(url)
    async with engine.connect() as connection:
        # Raises when autogenerate would find something to do.
        await connection.run_sync(lambda sync: command.check(alembic_config(sync)))
    await engine.dispose()


async def test_servers_that_start_together_migrate_once(database_url: str) -> None:
    url = parse_database_url(database_url)

    await asyncio.gather(*(migrate(url) for _ in range(4)))

    database = Database(url)
    async with database.read() as session:
        assert await session.scalar(text("SELECT count(*) FROM installation")) == 1
    await database.close()


async def test_a_database_of_a_newer_release_is_left_alone(database_url: str) -> None:
    url = parse_database_url(database_url)
    await migrate(url)
    database = Database(url)
    async with database.write() as session:
        await session.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    with pytest.raises(MigrationError, match="newer"):
        await migrate(url)

    async with database.read() as session:
        assert await session.scalar(text("SELECT version_num FROM alembic_version")) == "9999"
    await database.close()


async def test_a_failing_migration_leaves_the_database_as_it_was(database_url: str) -> None:
    url = parse_database_url(database_url)
    if url.get_backend_name() == "sqlite":
        create_sqlite_file(url)
    engine = make_engine(url)

    def tables(connection: Connection) -> list[str]:
        return inspect(connection).get_table_names()

    async with engine.begin() as connection:
        # In the way of the last table of the first migration.
        await connection.execute(text("CREATE TABLE secrets (id INTEGER)"))

    with pytest.raises(MigrationError, match="and is unchanged"):
        await migrate(url)

    async with engine.begin() as connection:
        assert await connection.run_sync(tables) == ["secrets"]
    await engine.dispose()


async def test_an_unreachable_database_stops_the_start_with_the_cure() -> None:
    with pytest.raises(MigrationError, match="DATABASE_URL"):
        await migrate(parse_database_url("postgresql://ocmt@127.0.0.1:1/ocmt"))


async def test_a_folder_that_cannot_be_created_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(MigrationError, match="could not be migrated"):
        await migrate(parse_database_url(f"sqlite:///{tmp_path}/file/management.db"))


async def test_the_embedded_database_is_private(tmp_path: Path) -> None:
    old_mask = os.umask(0o000)
    try:
        url = parse_database_url(f"sqlite:///{tmp_path}/data/management.db")
        await migrate(url)
        database = Database(url)
        async with database.write() as session:
            await session.execute(text("DELETE FROM users"))
            modes = {
                path.name: stat.S_IMODE(path.stat().st_mode)
                for path in (tmp_path / "data").iterdir()
            }
        await database.close()
    finally:
        os.umask(old_mask)

    assert modes["management.db-wal"] == 0o600
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700


async def test_the_embedded_database_waits_for_writers_and_checks_foreign_keys(
    tmp_path: Path,
) -> None:
    url = parse_database_url(f"sqlite:///{tmp_path}/management.db")
    await migrate(url)
    database = Database(url)

    async with database.read() as session:
        pragmas = {
            name: await session.scalar(text(f"PRAGMA {name}"))
            for name in ("journal_mode", "foreign_keys", "busy_timeout")
        }
    await database.close()

    assert pragmas == {"journal_mode": "wal", "foreign_keys": 1, "busy_timeout": 5000}


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
async def test_without_postgresql_requests_get_a_503_and_work_again_when_it_is_back(
    sign_in: SignIn, request: pytest.FixtureRequest
) -> None:
    postgres = request.getfixturevalue("postgres")
    browser = await sign_in(ADA)

    postgres.stop()
    try:
        reading = await browser.get("/api/secrets")
        writing = await browser.put("/api/secrets/FOO", json={"value": "x"})
        asking = await browser.post("/api/auth/link", json={"email": ADA})
        health = await browser.get("/health")
    finally:
        postgres.start()

    for answer in (reading, writing, asking):
        assert answer.status_code == 503
        assert answer.json()["code"] == "database-unavailable"
        assert int(answer.headers["retry-after"]) > 0
    assert health.status_code == 503
    assert health.json()["checks"]["database"]["ok"] is False
    assert "DATABASE_URL" in health.json()["checks"]["database"]["detail"]

    assert (await browser.put("/api/secrets/FOO", json={"value": "x"})).status_code == 200
    assert (await browser.get("/health")).json()["checks"]["database"]["ok"] is True


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
async def test_a_postgresql_that_accepts_and_says_nothing_is_a_503(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ocmt_management.db._COMMAND_TIMEOUT_S", 5)
    database = Database(parse_database_url(database_url))

    async def ask() -> None:
        async with database.read() as session:
            await session.execute(text("SELECT pg_sleep(30)"))

    with pytest.raises(Problem, match="does not answer"):
        await ask()
    await database.ping()
    await database.close()


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_an_embedded_database_that_vanished_is_a_503_and_never_a_new_empty_one(
    app: FastAPI, sign_in: SignIn, settings: ManagementSettings, tmp_path: Path
) -> None:
    app.state.on_sign_in = lambda _: None  # it would look meanwhile
    browser = await sign_in(ADA)
    file, elsewhere = Path(str(settings.database.database)), tmp_path / "elsewhere"
    await app.state.database.close()  # as after the pool's connections were lost
    file.rename(elsewhere)

    assert (await browser.get("/api/secrets")).json()["code"] == "database-unavailable"
    assert not file.exists()

    elsewhere.rename(file)
    assert (await browser.get("/api/secrets")).status_code == 200


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_a_full_disk_is_a_507_until_space_is_freed(app: FastAPI, sign_in: SignIn) -> None:
    browser = await sign_in(ADA)
    database: Database = app.state.database
    async with database.read() as session:
        allowed = {"pages": await session.scalar(text("PRAGMA page_count"))}

    # SQLite keeps the limit with the connection, and any of the pool's may serve a request.
    @event.listens_for(database._engine.sync_engine, "checkout")
    def limit(connection: Any, *_: object) -> None:
        connection.cursor().execute(f"PRAGMA max_page_count = {allowed['pages']}")

    big = {"value": "x" * 16_000}
    answers = [await browser.put(f"/api/secrets/S{n}", json=big) for n in range(3)]
    full = answers[-1]

    assert full.status_code == 507
    assert full.json()["code"] == "disk-full"
    assert (await browser.get("/api/secrets")).status_code == 200

    allowed["pages"] = 1_000_000
    assert (await browser.put("/api/secrets/S9", json=big)).status_code == 200


async def test_a_unit_of_work_that_fails_leaves_nothing_behind(app: FastAPI) -> None:
    database: Database = app.state.database
    done: list[str] = []

    async def fail() -> None:
        async with database.write() as session:
            await session.execute(text("INSERT INTO installation (id) VALUES (2)"))
            after_commit(session, lambda: done.append("told"))
            raise Problem(409, "changed", "changed my mind")

    with pytest.raises(Problem, match="changed my mind"):
        await fail()

    async with database.read() as session:
        assert await session.scalar(text("SELECT count(*) FROM installation")) == 1
    assert done == []


_EXPAND = 'op.add_column("usage", sa.Column("more", sa.Integer()))'
_CONTRACT = 'op.drop_table("secrets")'


async def _has(url: URL, table: str) -> bool:
    engine = make_engine(url)
    async with engine.connect() as connection:
        names = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
    await engine.dispose()
    return table in names


async def test_contracting_migrations_wait_until_the_release_before_has_ended(
    database_url: str, later: AddLater
) -> None:
    url = parse_database_url(database_url)
    await migrate(url)
    later([(_EXPAND, False), (_CONTRACT, True)])

    for _ in range(2):  # again changes nothing
        await migrate(url, expand_only=True)
        assert await _has(url, "secrets")
    database = Database(url)
    async with database.read() as session:
        assert await session.scalar(text("SELECT count(more) FROM usage")) == 0
    await database.close()

    await migrate(url)
    assert not await _has(url, "secrets")
    await migrate(url, expand_only=True)


async def test_expanding_after_contracting_is_refused_with_the_commit_to_deploy_first(
    database_url: str, later: AddLater
) -> None:
    url = parse_database_url(database_url)
    await migrate(url)
    later([(_CONTRACT, True), (_EXPAND, False)])

    with pytest.raises(MigrationError, match="whose newest migration is 9001"):
        await migrate(url, expand_only=True)

    assert await _has(url, "secrets")


async def test_a_writer_that_is_cancelled_at_any_moment_leaves_no_lock(database_url: str) -> None:
    url = parse_database_url(database_url)
    await migrate(url)
    database, other = Database(url), Database(url)

    async def write() -> None:
        async with database.write() as session:
            await session.execute(text("SELECT count(*) FROM installation"))
            await session.execute(text("UPDATE installation SET id = id RETURNING id"))

    kept: list[object] = []
    for turns in range(150):
        writing = asyncio.create_task(write())
        for _ in range(turns % 20):
            await asyncio.sleep(0)
        await asyncio.sleep(turns / 20_000)
        writing.cancel()
        # Its result is kept, as a supervisor or a log would: it holds the interrupted statement.
        kept += await asyncio.gather(writing, return_exceptions=True)
        async with asyncio.timeout(4), other.write() as session:
            await session.execute(text("UPDATE installation SET id = id"))

    assert any(isinstance(one, asyncio.CancelledError) for one in kept)
    await database.close()
    await other.close()
