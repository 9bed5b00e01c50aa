"""The database at another revision than this release's: links, health, and the copy before."""

import asyncio
import sqlite3
import stat
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import httpx2
import pytest
from fastapi import FastAPI
from ocmt_management import __main__ as command
from ocmt_management import migrations
from ocmt_management.database_url import parse_database_url
from ocmt_management.db import Database, make_engine
from ocmt_management.migrations import MigrationError, migrate, revision_of
from sqlalchemy import URL, text

ADA = "ada@example.com"
AddLater = Callable[[list[tuple[str, bool]]], None]
SignIn = Callable[[str], Awaitable[httpx2.AsyncClient]]
RENAMED = 'op.rename_table("sessions", "user_sessions")'
ADDED = 'op.add_column("usage", sa.Column("more", sa.Integer()))'


async def run(url: URL, *statements: str) -> None:
    engine = make_engine(url)
    async with engine.begin() as connection:
        for statement in statements:
            await connection.execute(text(statement))
    await engine.dispose()


class TestALink:
    @pytest.fixture
    def env_file(self, tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setattr(command, "configure_logging", lambda: None)
        monkeypatch.setattr(command, "allow_many_open_files", lambda: None)
        file = tmp_path / "management.env"
        file.write_text(
            f"DATA_DIR={tmp_path}/data\nJWT_SECRET=q8Zl1x7Vb3Nn5Mm2Kk9Jj4Hh6Gg0FfDd7Ss1Aa\n"
            "VAULT_KEY=k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"
            "AGENT_AUTH_TOKEN=6f1d2c3b4a5968778695a4b3c2d1e0f0123456789abcdef0\n"
            f"DATABASE_URL={database_url}\n"
        )
        return file

    def make(self, env_file: Path) -> int:
        return command.main(["sign-in-link", "--email", ADA, "--env-file", str(env_file)])

    @pytest.mark.parametrize("more", [[(ADDED, False)], [(RENAMED, True)]])
    def test_never_migrates_under_the_release_that_serves(
        self,
        env_file: Path,
        database_url: str,
        later: AddLater,
        capsys: pytest.CaptureFixture[str],
        seen_secrets: set[str],
        more: list[tuple[str, bool]],
    ) -> None:
        url = parse_database_url(database_url)
        asyncio.run(migrate(url))
        before = asyncio.run(revision_of(url))
        later(more)  # as a pull brings them

        assert self.make(env_file) == 0
        assert "/sign-in#" in capsys.readouterr().out
        assert asyncio.run(revision_of(url)) == before

    def test_is_made_by_an_older_release_on_newer_tables(
        self, env_file: Path, database_url: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """As after `rollback mgmt` over a migration; without mail it is the only way to sign in."""
        url = parse_database_url(database_url)
        asyncio.run(migrate(url))
        asyncio.run(
            run(
                url,
                "ALTER TABLE usage ADD COLUMN more INTEGER",
                "UPDATE alembic_version SET version_num = '9999'",
            )
        )
        assert self.make(env_file) == 0
        assert "/sign-in#" in capsys.readouterr().out

    @pytest.mark.both_databases
    def test_is_refused_when_the_tables_do_not_fit_or_are_missing(
        self, env_file: Path, database_url: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert self.make(env_file) == 1
        assert "not set up yet" in capsys.readouterr().err
        url = parse_database_url(database_url)
        asyncio.run(migrate(url))
        asyncio.run(run(url, "ALTER TABLE users RENAME TO people"))
        assert self.make(env_file) == 1
        told = capsys.readouterr().err
        assert "of another release" in told
        assert "Traceback" not in told


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE sessions RENAME TO user_sessions",
        "ALTER TABLE sessions RENAME COLUMN expires_at TO ends_at",
        "ALTER TABLE users RENAME TO people",
    ],
)
async def test_health_says_that_the_tables_are_of_another_release(
    app: FastAPI, sign_in: SignIn, change: str
) -> None:
    browser = await sign_in(ADA)
    assert (await browser.get("/health")).json()["checks"]["database"]["ok"] is True
    database: Database = app.state.database
    async with database.write() as session:
        await session.execute(text(change))
        await session.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    health = await browser.get("/health")
    asking = await browser.get("/api/me")

    assert health.status_code == 503
    assert "another release" in health.json()["checks"]["database"]["detail"]
    assert asking.status_code == 503
    assert "another release" in asking.json()["detail"]


@pytest.mark.parametrize("revision", ["0001", "0004", "0006"])
async def test_health_says_which_migrations_the_database_lacks(
    app: FastAPI, sign_in: SignIn, revision: str
) -> None:
    """As after the restore of an older backup, when no column happens to be missing."""
    browser = await sign_in(ADA)
    database: Database = app.state.database
    async with database.write() as session:
        await session.execute(text(f"UPDATE alembic_version SET version_num = '{revision}'"))
    health = await browser.get("/health")
    assert health.status_code == 503
    detail = health.json()["checks"]["database"]["detail"]
    assert f"at revision {revision}, and this release needs its migrations 000" in detail
    assert "`./ocmt deploy` runs them" in detail


@pytest.mark.parametrize(
    ("revision", "lacking"),
    [(None, ["1", "2", "4"]), ("1", ["2", "4"]), ("2", ["4"]), ("4", []), ("5c", []), ("9", [])],
)
def test_a_contracting_migration_or_a_newer_revision_is_not_lacking(
    revision: str | None, lacking: list[str]
) -> None:
    known = {"1": False, "2": False, "3c": True, "4": False, "5c": True}
    assert migrations.lacking_migrations(revision, known) == lacking


async def test_tables_of_a_newer_release_that_still_fit_are_no_fault(
    app: FastAPI, sign_in: SignIn
) -> None:
    """Releases take over from each other and roll back like this."""
    browser = await sign_in(ADA)
    database: Database = app.state.database
    async with database.write() as session:
        await session.execute(text("ALTER TABLE usage ADD COLUMN more INTEGER"))
        await session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    assert (await browser.get("/health")).json()["checks"]["database"]["ok"] is True


@pytest.mark.parametrize("expand_only", [False, True])
async def test_tables_of_a_newer_release_are_not_migrated_and_told(
    tmp_path: Path, *, expand_only: bool
) -> None:
    """As when an older commit is deployed."""
    url = parse_database_url(f"sqlite:///{tmp_path}/management.db")
    await migrate(url)
    await run(url, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(MigrationError, match="probably migrated by a newer one"):
        await migrate(url, expand_only=expand_only)


class TestTheCopy:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        return tmp_path / "data" / "management.db"

    @pytest.fixture
    def url(self, file: Path) -> URL:
        return parse_database_url(f"sqlite:///{file}")

    async def test_is_made_before_a_migration_and_is_the_database_as_it_was(
        self, url: URL, file: Path, later: AddLater
    ) -> None:
        await migrate(url)
        assert list(file.parent.glob("*.at-*")) == [], "a new database has nothing to lose"
        before = await revision_of(url)
        await run(url, "INSERT INTO installation (id) VALUES (7)")
        later([(RENAMED, True)])
        await migrate(url)
        await migrate(url)  # nothing to do, nothing to copy

        (copy,) = file.parent.glob("*.at-*")
        assert copy.name == f"management.db.at-{before}"
        assert stat.S_IMODE(copy.stat().st_mode) == 0o600
        with closing(sqlite3.connect(copy)) as old:
            assert old.execute("SELECT max(id) FROM installation").fetchone() == (7,)
            assert old.execute("SELECT version_num FROM alembic_version").fetchone() == (before,)
            assert old.execute("SELECT count(*) FROM sessions").fetchone() == (0,)

    async def test_the_last_two_are_kept(
        self, url: URL, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, later: AddLater
    ) -> None:
        await migrate(url)
        later([(ADDED, False), (RENAMED, True)])
        for revision in ("0001", "0002", "9001"):
            await run(url, f"UPDATE alembic_version SET version_num = '{revision}'")
            await migrations._copied(url)
        kept = sorted(one.name for one in file.parent.glob("*.at-*"))
        assert kept == ["management.db.at-0002", "management.db.at-9001"]

    @pytest.mark.parametrize(
        "error", [OSError(28, "No space left on device"), sqlite3.OperationalError("disk is full")]
    )
    async def test_without_it_nothing_is_migrated(
        self, url: URL, later: AddLater, monkeypatch: pytest.MonkeyPatch, error: Exception
    ) -> None:
        await migrate(url)
        before = await revision_of(url)
        later([(ADDED, False)])

        def fail(*_: object, **__: object) -> None:
            raise error

        monkeypatch.setattr(migrations, "copy_before_migration", fail)
        with pytest.raises(MigrationError, match="Free as much disk space"):
            await migrate(url)
        assert await revision_of(url) == before
