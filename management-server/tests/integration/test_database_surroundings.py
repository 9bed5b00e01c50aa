"""A pooler in front of PostgreSQL, a database that turns read-only, certificates, several hosts."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import asyncpg
import httpx2
import pytest
from ocmt_common.problems import Problem
from ocmt_management.database_url import parse_database_url
from ocmt_management.db import Database
from ocmt_management.migrations import MigrationError, migrate
from ocmt_management.settings import ManagementSettings
from ocmt_testing.management.pooler import pooler
from sqlalchemy import text

pytestmark = pytest.mark.both_databases

ADA = "ada@example.com"
SignIn = Callable[[str], Awaitable[httpx2.AsyncClient]]
only_postgresql = pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)


@pytest.fixture
def direct(database_url: str) -> tuple[Path, str]:
    """The cluster's socket folder, and the name of a database on it."""
    name, _, folder = database_url.removeprefix("postgresql://postgres@/").partition("?host=")
    return Path(folder), name


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed certificate of `localhost`, its key before it."""
    key, made, both = (tmp_path / name for name in ("key.pem", "root.pem", "both.pem"))
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "1", "-subj", "/CN=db", "-addext", "subjectAltName=DNS:localhost",
         "-keyout", key, "-out", made],
        check=True, capture_output=True,
    )  # fmt: skip
    both.write_bytes(key.read_bytes() + made.read_bytes())
    return both


class TestBehindAPooler:
    @pytest.fixture
    def port(self, direct: tuple[Path, str]) -> Iterator[int]:
        with pooler(direct[0]) as port:
            yield port

    @pytest.fixture
    def settings(
        self, settings: ManagementSettings, direct: tuple[Path, str], port: int
    ) -> ManagementSettings:
        url = f"postgresql://postgres@127.0.0.1:{port}/{direct[1]}"
        return settings.model_copy(update={"database_url": type(settings.database_url)(url)})

    @only_postgresql
    async def test_the_server_serves_many_at_once(self, sign_in: SignIn) -> None:
        browser = await sign_in(ADA)
        for turn in range(3):
            answers = await asyncio.gather(
                *(browser.get("/api/secrets") for _ in range(12)),
                *(browser.put(f"/api/secrets/S{n}", json={"value": "x"}) for n in range(4)),
                *(browser.get("/health") for _ in range(4)),
            )
            assert {answer.status_code for answer in answers} == {200}, turn

    @only_postgresql
    async def test_every_start_finds_its_database(self, settings: ManagementSettings) -> None:
        for _ in range(3):
            await migrate(settings.database)
            database = Database(settings.database)
            await asyncio.gather(*(database.ping() for _ in range(8)))
            await database.close()

    @only_postgresql
    async def test_nothing_is_left_prepared_in_the_sessions(
        self, settings: ManagementSettings
    ) -> None:
        await migrate(settings.database)
        database = Database(settings.database)
        for _ in range(5):
            await database.ping()
        async with database.read() as session:
            left = await session.scalar(text("SELECT count(*) FROM pg_prepared_statements"))
        await database.close()
        assert left == 0


async def _set_read_only(direct: tuple[Path, str], value: str) -> None:
    connection = await asyncpg.connect(host=str(direct[0]), user="postgres", database="postgres")
    await connection.execute(
        f"ALTER DATABASE {direct[1]} SET default_transaction_read_only = {value}"
    )
    await connection.close()


@pytest.fixture
async def read_only(direct: tuple[Path, str]) -> AsyncIterator[Callable[[str], Awaitable[None]]]:
    async def turn(value: str) -> None:
        await _set_read_only(direct, value)
        connection = await asyncpg.connect(
            host=str(direct[0]), user="postgres", database="postgres"
        )
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", direct[1]
        )
        await connection.close()

    yield turn
    await _set_read_only(direct, "off")


@only_postgresql
async def test_a_database_that_turned_read_only_is_a_503_and_works_again_at_once(
    sign_in: SignIn, read_only: Callable[[str], Awaitable[None]], direct: tuple[Path, str]
) -> None:
    browser = await sign_in(ADA)
    assert (await browser.put("/api/secrets/FOO", json={"value": "x"})).status_code == 200
    await read_only("on")

    reading = await browser.get("/api/secrets")
    writing = await browser.put("/api/secrets/FOO", json={"value": "y"})
    health = await browser.get("/health")
    # Connections that are opened now, and only read, do no harm later.
    await asyncio.gather(*(browser.get("/api/secrets") for _ in range(5)))

    assert reading.status_code == 200
    assert writing.status_code == 503
    assert writing.json()["code"] == "database-unavailable"
    assert "read-only" in writing.json()["detail"]
    assert int(writing.headers["retry-after"]) > 0
    assert health.status_code == 503
    assert "read-only" in health.json()["checks"]["database"]["detail"]

    await _set_read_only(direct, "off")  # and no session is ended: the pool must see to its own
    answers = await asyncio.gather(
        *(browser.put(f"/api/secrets/S{n}", json={"value": "z"}) for n in range(6))
    )
    assert {answer.status_code for answer in answers} == {200}
    assert (await browser.get("/health")).json()["checks"]["database"]["ok"] is True


@only_postgresql
async def test_a_read_only_database_stops_the_start_with_the_cure(
    database_url: str, read_only: Callable[[str], Awaitable[None]]
) -> None:
    await read_only("on")
    with pytest.raises(MigrationError, match=r"read-only now.*primary"):
        await migrate(parse_database_url(database_url))


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_a_read_only_embedded_database_is_reported_by_health(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = parse_database_url(database_url)
    await migrate(url)
    database = Database(url)
    await database.ping()
    allowed = os.access
    # Root, as which these tests may run, writes everywhere but on a read-only file system.
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK and allowed(path, mode))
    with pytest.raises(Problem, match="read-only"):
        await database.ping()
    await database.close()


@only_postgresql
@pytest.mark.parametrize("state", ["40001", "40P01", "55P03"])
async def test_a_conflict_with_another_change_is_a_503_to_try_again(
    database_url: str, state: str
) -> None:
    database = Database(parse_database_url(database_url))

    async def clash() -> None:
        async with database.write() as session:
            raising = f"DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '{state}'; END $$"
            await session.execute(text(raising))

    with pytest.raises(Problem, match="Try again") as refused:
        await clash()
    assert (refused.value.status, refused.value.retry_after_s) == (503, 1)
    await database.close()


async def _ping(url: str) -> None:
    database = Database(parse_database_url(url))
    try:
        await database.ping()
    finally:
        await database.close()


@only_postgresql
async def test_a_certificate_of_a_private_authority_is_verified(
    direct: tuple[Path, str], certificate: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root.pem"
    with pooler(direct[0], certificate=certificate) as port:
        address = f"postgresql://postgres@{{host}}:{port}/{direct[1]}?sslmode={{mode}}&sslrootcert={{root}}"
        await _ping(address.format(host="localhost", mode="verify-full", root=root))
        await _ping(address.format(host="127.0.0.1", mode="verify-ca", root=root))
        await _ping(address.format(host="127.0.0.1", mode="require", root=root))
        for host, trusted in (("127.0.0.1", root), ("localhost", "system")):
            with pytest.raises(Problem, match="does not answer"):
                await _ping(address.format(host=host, mode="verify-full", root=trusted))


@only_postgresql
async def test_of_several_hosts_the_one_that_answers_is_used(direct: tuple[Path, str]) -> None:
    with pooler(direct[0]) as port:
        for hosts in (f"127.0.0.1:1,127.0.0.1:{port}", f"127.0.0.1:{port},127.0.0.1:1"):
            url = f"postgresql://postgres@{hosts}/{direct[1]}"
            await migrate(parse_database_url(url))
            await _ping(url)
