"""A running management server for tests: real databases (both kinds), real SMTP, browsers with
cookies.

After each test its log is searched for every token, code, cookie and secret that it used.
"""

import asyncio
import base64
import json
import logging
import os
import pwd
import re
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default as default_policy
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest
import structlog
from aiosmtpd.smtp import SMTP, Envelope
from fastapi import FastAPI
from ocmt_cli.doctor.machine import postgresql_programs
from ocmt_common.settings import load
from ocmt_management import migrations
from ocmt_management.app import create_app
from ocmt_management.auth.sign_in import operator_link
from ocmt_management.db import create_sqlite_file
from ocmt_management.migrations import migrate
from ocmt_management.settings import ManagementSettings
from ocmt_testing.management.agent_server import TOKEN as AGENT_SERVER_TOKEN
from ocmt_testing.management.agent_server import FakeAgentServer, running_agent_server
from ocmt_testing.management.serving import Server, serving
from ocmt_testing.needs import require
from sqlalchemy import URL


class Postgres:
    """A PostgreSQL cluster for the tests, on a socket in a temporary folder."""

    def __init__(self) -> None:
        require("postgresql")
        programs = postgresql_programs()
        assert programs is not None
        self._bin = Path(programs)
        self._folder = Path(tempfile.mkdtemp(prefix="ocmt-pg-"))
        # PostgreSQL refuses to run as root.
        self._user = "postgres" if os.getuid() == 0 else None
        if self._user:
            account = pwd.getpwnam(self._user)
            os.chown(self._folder, account.pw_uid, account.pw_gid)
        self._run("initdb", "--auth=trust", "--username=postgres", "--no-sync", "-D", "data")

    def start(self) -> None:
        options = f"-c listen_addresses='' -c fsync=off -k {self._folder}"
        self._run("pg_ctl", "start", "-w", "-D", "data", "-l", "log", "-o", options)

    def stop(self) -> None:
        self._run("pg_ctl", "stop", "-m", "immediate", "-D", "data")

    def remove(self) -> None:
        shutil.rmtree(self._folder)

    def url(self, name: str) -> str:
        return f"postgresql://postgres@/{name}?host={self._folder}"

    async def new_database(self) -> str:
        name = f"test_{secrets.token_hex(6)}"
        connection = await asyncpg.connect(self.url("postgres"))
        await connection.execute(f"CREATE DATABASE {name}")
        await connection.close()
        return self.url(name)

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self._bin / program, *arguments],
            cwd=self._folder,
            user=self._user,
            check=True,
            stdout=subprocess.DEVNULL,
        )


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    cluster = Postgres()
    cluster.start()
    yield cluster
    cluster.stop()
    cluster.remove()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run on both databases each night; on every run only tests marked `both_databases`.

    Marked are tests of concurrency, and as many others as are needed to run each SQL statement on
    PostgreSQL.
    """
    both = metafunc.definition.get_closest_marker("both_databases") is not None
    uses_it = "database_kind" in metafunc.fixturenames
    marked = any(mark.name == "both_databases" for mark in metafunc.definition.own_markers)
    assert uses_it or not marked, f"{metafunc.definition.nodeid} is marked, but has one database"
    chosen = [mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")]
    if uses_it and "database_kind" not in chosen:
        marks = () if both else pytest.mark.nightly
        kinds = ["sqlite", pytest.param("postgresql", marks=marks)]
        metafunc.parametrize("database_kind", kinds, indirect=True)


@pytest.fixture
def database_kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@pytest.fixture
async def database_url(request: pytest.FixtureRequest, database_kind: str, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if database_kind == "sqlite":
        return f"sqlite:///{tmp_path}/data/management.db"
    cluster: Postgres = request.getfixturevalue("postgres")
    return await cluster.new_database()


@pytest.fixture
def seen_secrets() -> set[str]:
    """What must never be logged. Browsers and mailboxes add the secrets that they see."""
    return set()


@pytest.fixture(autouse=True)
def quiet_logs(seen_secrets: set[str], caplog: pytest.LogCaptureFixture) -> Iterator[list[Any]]:
    caplog.set_level(logging.INFO)
    with structlog.testing.capture_logs() as events:
        yield events
    ours = (r.getMessage() for r in caplog.records if r.name != "mail.log")  # the SMTP server's
    text = "\n".join([*map(repr, events), *ours])
    leaked = {secret for secret in seen_secrets if len(secret) > 5 and secret in text}
    assert not leaked, f"logged: {leaked}"


@pytest.fixture(autouse=True)
def patient_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """`/health` reports what is wrong, not how busy the test machine is."""
    monkeypatch.setattr("ocmt_management.health.endpoints._CHECK_TIMEOUT_S", 20)


@pytest.fixture
async def mailbox(seen_secrets: set[str]) -> AsyncIterator[tuple[int, list[EmailMessage]]]:
    """A real SMTP server: its port, and the mails it received."""
    mails: list[EmailMessage] = []

    class Handler:
        async def handle_DATA(self, _: SMTP, __: object, envelope: Envelope) -> str:
            assert isinstance(envelope.content, bytes)
            mail = message_from_bytes(envelope.content, policy=default_policy)
            assert isinstance(mail, EmailMessage)
            seen_secrets.update(re.findall(r"#([\w-]{43})", mail.as_string()))
            mails.append(mail)
            return "250 OK"

    server = await asyncio.get_running_loop().create_server(
        lambda: SMTP(Handler(), hostname="test"), "127.0.0.1", 0
    )
    yield server.sockets[0].getsockname()[1], mails
    server.close()
    await server.wait_closed()


@pytest.fixture
def mails(mailbox: tuple[int, list[EmailMessage]]) -> list[EmailMessage]:
    return mailbox[1]


@pytest.fixture
def make_settings(tmp_path: Path, seen_secrets: set[str]) -> Callable[..., ManagementSettings]:
    """Valid settings, changed by keyword (`base_url="https://…"`)."""

    def make(**changes: str) -> ManagementSettings:
        environ = {
            "DATA_DIR": str(tmp_path / "data"),
            "JWT_SECRET": secrets.token_urlsafe(48),
            "VAULT_KEY": "k1:" + base64.b64encode(secrets.token_bytes(32)).decode(),
            "AGENT_AUTH_TOKEN": secrets.token_urlsafe(48),
        }
        environ |= {name.upper(): value for name, value in changes.items()}
        seen_secrets.update(
            {environ["JWT_SECRET"], environ["VAULT_KEY"], environ["AGENT_AUTH_TOKEN"]}
        )
        return load(ManagementSettings, environ=environ)

    return make


@pytest.fixture
async def agent_server() -> AsyncIterator[FakeAgentServer]:
    """An agent server that the test controls; use `its_settings` to connect to it."""
    async with running_agent_server() as fake:
        yield fake


@pytest.fixture
def its_settings(
    agent_server: FakeAgentServer, mailbox: tuple[int, list[EmailMessage]]
) -> dict[str, str]:
    """Settings with which a management server uses this test's agent server and signs users in."""
    return {
        "agent_server_url": agent_server.server.url,
        "agent_auth_token": AGENT_SERVER_TOKEN,
        "smtp_host": "127.0.0.1",
        "smtp_port": str(mailbox[0]),
        "smtp_from": "ocmt@example.com",
        "smtp_tls": "none",
        "allowed_domains": "example.com",
    }


@pytest.fixture
async def served(app: FastAPI) -> AsyncIterator[Server]:
    """The server on a real port, for streams and WebSockets."""
    async with serving(app) as server:
        yield server


@pytest.fixture
def settings(
    make_settings: Callable[..., ManagementSettings],
    database_url: str,
    mailbox: tuple[int, list[EmailMessage]],
) -> ManagementSettings:
    """Settings of the running server; a module overrides this fixture to change them."""
    return make_settings(
        database_url=database_url,
        smtp_host="127.0.0.1",
        smtp_port=str(mailbox[0]),
        smtp_from="ocmt@example.com",
        smtp_tls="none",
        allowed_domains="example.com",
    )


@pytest.fixture
def times() -> dict[str, datetime]:
    """The server's clock: `times["now"]`."""
    return {"now": datetime(2026, 11, 23, 12, 0, tzinfo=UTC)}


@pytest.fixture
def advance(times: dict[str, datetime]) -> Callable[[timedelta], None]:
    def move(by: timedelta) -> None:
        times["now"] += by

    return move


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite database with the newest tables and no rows."""
    file = tmp_path_factory.mktemp("migrated") / "management.db"
    asyncio.run(migrate(URL.create("sqlite+aiosqlite", database=str(file))))
    return file


@pytest.fixture
async def app(
    settings: ManagementSettings, times: dict[str, datetime], migrated: Path
) -> AsyncIterator[FastAPI]:
    """The application, migrated and started."""
    url = settings.database
    if url.get_backend_name() == "sqlite" and not Path(str(url.database)).exists():  # noqa: ASYNC240
        create_sqlite_file(url)
        shutil.copyfile(migrated, str(url.database))
    else:
        await migrate(url)
    running = create_app(settings, clock=lambda: times["now"])
    async with running.router.lifespan_context(running):
        yield running


@pytest.fixture
async def new_browser(
    app: FastAPI, seen_secrets: set[str]
) -> AsyncIterator[Callable[[], httpx2.AsyncClient]]:
    """Each call opens a browser with its own cookies, on the server's own page."""

    async def remember(response: httpx2.Response) -> None:
        seen_secrets.update(value for value in response.cookies.values() if len(value) > 8)
        whole = isinstance(response.request.stream, httpx2.ByteStream)
        sent = response.request.content if whole else b""
        if sent.startswith(b"{"):
            body = json.loads(sent)
            seen_secrets.update(str(body[k]) for k in ("token", "value", "key") if body.get(k))

    async with AsyncExitStack() as stack:
        opened: list[httpx2.AsyncClient] = []

        def open_one() -> httpx2.AsyncClient:
            client = httpx2.AsyncClient(
                transport=httpx2.ASGITransport(app, client=("192.0.2.7", 50_000)),
                base_url=app.state.settings.base_url,
                headers={"sec-fetch-site": "same-origin"},
                event_hooks={"response": [remember]},
            )
            stack.push_async_callback(client.aclose)
            opened.append(client)
            return client

        yield open_one


@pytest.fixture
def ask_for_link(
    app: FastAPI, mails: list[EmailMessage]
) -> Callable[[httpx2.AsyncClient, str], Awaitable[str]]:
    """Request a link in a browser and take its token from the mail."""

    async def ask(browser: httpx2.AsyncClient, email: str) -> str:
        answer = await browser.post("/api/auth/link", json={"email": email})
        assert answer.status_code == 202, answer.text
        await app.state.mail_queue.delivered()
        mail = mails[-1]
        assert mail["To"] == email
        text = mail.get_body(("plain",))
        assert text is not None
        link = re.search(r"/sign-in#([\w-]{43})\s", text.get_content())
        assert link is not None
        return link[1]

    return ask


@pytest.fixture
def sign_in(
    new_browser: Callable[[], httpx2.AsyncClient],
    ask_for_link: Callable[[httpx2.AsyncClient, str], Awaitable[str]],
) -> Callable[[str], Awaitable[httpx2.AsyncClient]]:
    """A browser in which this address is signed in, by the mailed link."""

    async def go(email: str) -> httpx2.AsyncClient:
        browser = new_browser()
        token = await ask_for_link(browser, email)
        answer = await browser.post("/api/auth/session", json={"token": token})
        assert answer.status_code == 200, answer.text
        return browser

    return go


@pytest.fixture
def sign_in_admin(
    app: FastAPI,
    new_browser: Callable[[], httpx2.AsyncClient],
    seen_secrets: set[str],
) -> Callable[[str], Awaitable[httpx2.AsyncClient]]:
    """A browser in which the installation's first admin is signed in, by the operator's link."""

    async def go(email: str) -> httpx2.AsyncClient:
        state = app.state
        async with state.database.write() as session:
            _, link = await operator_link(
                session, settings=state.settings, clock=state.clock, email=email
            )
        token = link.partition("#")[2]
        seen_secrets.add(token)
        browser = new_browser()
        answer = await browser.post("/api/auth/session", json={"token": token})
        assert answer.json()["user"]["role"] == "admin", answer.text
        return browser

    return go


_LATER = """
import sqlalchemy as sa
from alembic import op
revision = "{revision}"
down_revision = "{before}"
{contract}

def upgrade() -> None:
    {what}
"""


@pytest.fixture
def later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[list[tuple[str, bool]]], None]:
    """The real migrations, and more after them: what each does, and whether it contracts."""

    def add(more: list[tuple[str, bool]]) -> None:
        folder = tmp_path / "migrations"
        shutil.copytree(Path(migrations.__file__).parent, folder)
        before = sorted((folder / "versions").glob("*.py"))[-1].name[:4]
        for number, (what, contracts) in enumerate(more, 9001):
            text = _LATER.format(
                revision=number, before=before, what=what,
                contract="contract = True" if contracts else "",
            )  # fmt: skip
            (folder / "versions" / f"{number}_later.py").write_text(text)
            before = str(number)
        monkeypatch.setattr(migrations, "__file__", str(folder / "__init__.py"))

    return add
