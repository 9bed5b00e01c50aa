"""After flows that use every kind of secret: none is in a table, a log, a mail or an answer."""

import asyncio
import base64
import json
from collections.abc import Callable, Iterable
from datetime import timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx2
import pytest
from fastapi import FastAPI
from ocmt_management.integrations.oauth_http import Answer, OAuthHttp
from ocmt_management.integrations.oauth_protocol import HttpRequest
from ocmt_management.settings import ManagementSettings
from ocmt_management.tables import Base
from ocmt_testing.management.connecting import Person
from ocmt_testing.management.protected_server import ProtectedServer
from ocmt_testing.management.serving import serving
from ocmt_testing.management.tool_user import ToolUser
from ocmt_testing.oidc_provider import CLIENT_SECRET
from sqlalchemy import text

API_KEY, OWN_SECRET = "api-key-0123456789-abcdef", "own-secret-0123456789-abcdef"
NAMES = {
    "access_token", "refresh_token", "client_secret", "code", "code_verifier", "token",
}  # fmt: skip
TEST_CLIENTS = ("httpx2", "httpcore2", "mail.log")
"""Loggers of the test's own browsers and mail server, which see what the server must not log."""


class Secrets:
    """What goes to providers and comes from them, by kind."""

    def __init__(self) -> None:
        self.kinds: dict[str, set[str]] = {}

    def add(self, kind: str, value: object) -> None:
        if isinstance(value, str) and len(value) >= 8:
            self.kinds.setdefault(kind, set()).add(value)

    def read(self, body: bytes | None) -> None:
        words = (body or b"").decode(errors="replace")
        try:
            found = json.loads(words)
            pairs = list(found.items()) if isinstance(found, dict) else []
        except ValueError:
            pairs = [(name, one) for name, all_ in parse_qs(words).items() for one in all_]
        for name, value in pairs:
            if name in NAMES:
                self.add(name, value)

    def all(self) -> set[str]:
        return set().union(*self.kinds.values())


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> Secrets:
    """Fills while the server calls providers."""
    found = Secrets()
    send = OAuthHttp.send

    async def noting(self: OAuthHttp, request: HttpRequest, **how: Any) -> Answer:
        found.read(request.body)
        for name, value in request.headers:
            scheme, _, credential = value.partition(" ")
            if name == "Authorization":
                found.add("header", credential)
            if scheme == "Basic":
                found.add("client_secret", base64.b64decode(credential).decode().partition(":")[2])
        answer = await send(self, request, **how)
        found.read(answer.body)
        return answer

    monkeypatch.setattr(OAuthHttp, "send", noting)
    return found


def listens(client: httpx2.AsyncClient, heard: list[bytes]) -> None:
    async def hear(response: httpx2.Response) -> None:
        heard.append(await response.aread())
        shown = [(n, v) for n, v in response.headers.items() if n.lower() != "set-cookie"]
        heard.append(repr(shown).encode())

    client.event_hooks["response"].append(hear)


def forms(secret: str | bytes) -> set[bytes]:
    """A secret as it could be written: itself, as hex, in base64 at any offset."""
    raw = secret.encode() if isinstance(secret, str) else secret
    found = {raw, raw.hex().encode(), raw.hex().upper().encode()}
    for offset in range(3):
        # Without the ends, which depend on the neighbours.
        whole = base64.b64encode(b"\0" * offset + raw)[4 if offset else 0 : -4]
        found |= {whole, whole.replace(b"+", b"-").replace(b"/", b"_")}
    return found


def leaked(secrets: Iterable[str | bytes], place: bytes) -> list[str | bytes]:
    return [one for one in secrets if any(form in place for form in forms(one))]


async def everything_stored(app: FastAPI, settings: ManagementSettings) -> bytes:
    """All values of all tables, and the embedded database's files with what was deleted."""
    found = bytearray()
    async with app.state.database.read() as session:
        tables = [table.name for table in Base.metadata.sorted_tables]
        for table in tables:
            for row in await session.execute(text(f'SELECT * FROM "{table}"')):
                for value in row:
                    raw = isinstance(value, bytes | memoryview)
                    found += bytes(value) if raw else str(value).encode()
                    found += b"\n"
    return bytes(found) + await asyncio.to_thread(_files, settings.data_dir)


def _files(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())


@pytest.mark.both_databases
async def test_no_secret_is_anywhere(
    app: FastAPI,
    settings: ManagementSettings,
    secrets: Secrets,
    ada: Person,
    user: ToolUser,
    advance: Callable[[timedelta], None],
    mails: list[EmailMessage],
    caplog: pytest.LogCaptureFixture,
    quiet_logs: list[Any],
) -> None:
    heard: list[bytes] = []
    for client in (ada.browser, user.agent):
        listens(client, heard)
    provider = ada.provider
    states: set[str] = set()

    # Connected, refused, cancelled, with wrong answers; used, refreshed, broken, ended.
    first, second = await ada.connect("ada-at-notes"), await ada.connect("ada-at-work")
    await ada.come_back(await provider.consent(await ada.start(), "ada-at-notes", refuse=True))
    for mode in ("html", "broken", "client", "lost", "nobody"):
        back = await provider.consent(await ada.start(), "ada-at-notes")
        await provider.set(mode=mode)
        await ada.come_back(back)
        await provider.set(mode="well")
        await ada.come_back(back)
    await ada.start()
    key = {"name": "Keyed", "host": provider.url.partition("//")[2], "key": API_KEY}
    await ada.browser.post("/api/connections/keys", json=key)
    await ada.browser.put("/api/secrets/OWN", json={"value": OWN_SECRET})
    listed = (await ada.browser.get("/api/tools")).json()["servers"]
    for server in listed:
        await user.rule(server, "allow", "change")
    for name in (server["slug"] for server in listed):
        for call in (
            {"url": "/read"}, {"url": "/change", "method": "POST", "body": {"a": 1}},
            {"url": "https://evil.example/x"}, {"url": "/x", "headers": {"Cookie": "x"}},
        ):  # fmt: skip
            await user.call("ocmt_api", {"connection": name, **call})
    await user.call("ocmt_list_connections")
    await user.call("ocmt_link_for_person", {"to": "account", "provider": "Notes"})
    for mode in ("well", "html", "client", "lost", "well"):
        await provider.set(mode=mode)
        advance(timedelta(hours=1))
        await user.call("ocmt_api", {"connection": "notes", "url": "/again"})
        await ada.browser.post(f"/api/connections/{first}/test")
    protected = ProtectedServer(provider.url)
    async with serving(protected.app) as server:
        protected.url = f"{server.url}/mcp"
        added = await user.add("protected", protected.url)
        started = await ada.browser.post(f"/api/tools/servers/{added['id']}/sign-in")
        await ada.come_back(await provider.consent(started.json()["url"], "ada-at-mcp"))
        await app.state.tools.idle()
        await user.allow(await user.view(added))
        await user.call("protected__whoami")
        await ada.browser.delete(f"/api/tools/servers/{added['id']}/connection")
    for path in ("connections", "tools", "tools/uses", "approvals", "admin/integrations",
                 "admin/audit", "account/export", "secrets"):  # fmt: skip
        await ada.browser.get(f"/api/{path}")
    await ada.browser.delete(f"/api/connections/{second}")
    await app.state.tools.written()
    await app.state.mail_queue.delivered()

    secrets.add("key", API_KEY)
    secrets.add("own", OWN_SECRET)
    secrets.add("agent", user.token)
    for name in ("jwt_secret", "agent_auth_token"):
        secrets.add("server", getattr(settings, name).get_secret_value())
    states = {one for one in ada.secrets if len(one) == 43} - secrets.all()
    vault = set(settings.vault_keys.values())
    assert {
        "access_token", "refresh_token", "client_secret", "code", "code_verifier", "token",
        "header", "key", "own", "agent", "server",
    } <= set(secrets.kinds), "each kind was used"  # fmt: skip
    assert CLIENT_SECRET in secrets.all()
    assert states
    kept: set[str | bytes] = {*secrets.all(), *vault}

    stored = await everything_stored(app, settings)
    assert len(stored) > 10_000
    assert leaked({*kept, *states}, stored) == []
    records = [*caplog.get_records("setup"), *caplog.get_records("call")]
    logs = "\n".join(
        [repr(event) for event in quiet_logs]
        + [f"{r.getMessage()} {r.exc_text}" for r in records if not r.name.startswith(TEST_CLIENTS)]
    ).encode()
    assert b"token not refreshed" in logs
    assert leaked({*kept, *states}, logs) == []
    assert leaked({*kept, *states}, b"\n".join(mail.as_bytes() for mail in mails)) == []
    assert b"[token]" in b"".join(heard), "the provider sent a token back"
    assert leaked(kept, b"\n".join(heard)) == []


@pytest.mark.parametrize("before", [b"", b"x", b"xy"])
def test_the_scan_finds_a_secret_however_it_is_written(before: bytes) -> None:
    raw = API_KEY.encode()
    for place in (raw, raw.hex().encode(), base64.b64encode(before + raw + b"\xff\xfe")):
        assert leaked([API_KEY], b"..." + place + b"...") == [API_KEY]
    assert leaked([API_KEY], base64.b64encode(raw[:-4])) == []
