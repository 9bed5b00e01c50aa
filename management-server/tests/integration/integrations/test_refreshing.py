"""Tokens are refreshed once, never lost, and given up only when the provider says so twice."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from email.message import EmailMessage
from typing import Any
from urllib.parse import parse_qs

import pytest
from fastapi import FastAPI
from ocmt_management.integrations.models import ConnectedAccount, OAuthClient
from ocmt_management.integrations.oauth_http import Answer
from ocmt_management.integrations.oauth_protocol import HttpRequest
from ocmt_management.integrations.provider_schema import Provider, Revocation
from ocmt_management.integrations.refresher import Access, ConnectionTrouble, Refresher
from ocmt_management.integrations.repository import IntegrationRepository
from ocmt_management.integrations.service import Integrations
from ocmt_management.integrations.token_state import LEASE
from ocmt_testing.management.connecting import Person
from sqlalchemy import text, update
from sqlalchemy.ext.asyncio import AsyncSession

Advance = Callable[[timedelta], None]
HOUR = timedelta(hours=1)


async def row_of(app: FastAPI, person: Person, connection_id: str) -> ConnectedAccount:
    async with app.state.database.read() as session:
        row = await IntegrationRepository(session).connection(person.id, connection_id)
    assert row is not None
    return row


@pytest.mark.both_databases
async def test_a_hundred_calls_in_two_processes_refresh_once(
    app: FastAPI, ada: Person, advance: Advance
) -> None:
    connection = await ada.connect()
    first = app.state.integrations
    before = await first.access(ada.id, connection)
    advance(HOUR)
    seen = (await ada.provider.set())["tokens"]
    async with Integrations.open(
        settings=app.state.settings, database=app.state.database, keys=app.state.vault_keys,
        clock=app.state.clock, mail_queue=app.state.mail_queue,
    ) as second:  # fmt: skip
        found: list[Access] = await asyncio.gather(
            *(one.access(ada.id, connection) for one in [first, second] * 50)
        )

    assert (await ada.provider.set())["tokens"] == seen + 1
    assert len({one.token.reveal() for one in found}) == 1
    assert found[0].token.reveal() != before.token.reveal()
    advance(HOUR)
    again = await first.access(ada.id, connection)
    assert again.version == found[0].version + 1, "the rotated refresh token was kept"
    assert (await ada.one(connection))["state"] == "ok"


async def test_passing_errors_change_no_state_and_a_lost_answer_is_mailed_once(
    app: FastAPI, ada: Person, advance: Advance, mails: list[EmailMessage]
) -> None:
    connection = await ada.connect()
    integrations: Integrations = app.state.integrations
    advance(HOUR - timedelta(minutes=1))
    for mode in ("html", "broken", "client"):
        await ada.provider.set(mode=mode)
        advance(timedelta(seconds=6))
        still = await integrations.access(ada.id, connection)
        assert still.version == 1, "a token that is still good is used meanwhile"
    advance(HOUR)
    for mode in ("html", "broken", "client"):
        await ada.provider.set(mode=mode)
        with pytest.raises(ConnectionTrouble) as caught:
            await integrations.access(ada.id, connection)
        assert not caught.value.broken
        seen = (await ada.provider.set())["tokens"]
        with pytest.raises(ConnectionTrouble):
            await integrations.access(ada.id, connection)
        assert (await ada.provider.set())["tokens"] == seen, "not hammered"
        assert (await ada.one(connection))["state"] == "ok"
        advance(timedelta(seconds=6))
    await ada.provider.set(mode="well")
    assert (await integrations.access(ada.id, connection)).version == 2
    assert (await ada.one(connection))["trouble"] is None

    advance(HOUR)
    await ada.provider.set(mode="lost")
    with pytest.raises(ConnectionTrouble) as lost:
        await integrations.access(ada.id, connection)
    assert not lost.value.broken
    await ada.provider.set(mode="well")
    advance(timedelta(seconds=6))
    posted = len(mails)
    results = await asyncio.gather(
        *(integrations.access(ada.id, connection) for _ in range(5)), return_exceptions=True
    )
    assert all(isinstance(one, ConnectionTrouble) and one.broken for one in results)
    await app.state.mail_queue.delivered()
    told = [str(mail["Subject"]) for mail in mails[posted:]]
    assert told == ["Connect Notes again"], "mailed once"
    shown = await ada.one(connection)
    assert (shown["state"], "Connect it again" in shown["trouble"]) == ("reconnect", True)
    assert await ada.connect(connectionId=connection) == connection
    assert (await ada.one(connection))["state"] == "ok"
    assert await integrations.access(ada.id, connection)


class Rotating:
    """An authorization server that knows one refresh token at a time."""

    def __init__(self, *, rotates: bool = True) -> None:
        self.good = ""
        self.issued = 0
        self.rotates = rotates
        self.during: Callable[[], Any] | None = None

    def may_go_to(self, _: str) -> bool:
        return True

    async def send(self, request: HttpRequest, **_: Any) -> Answer:
        given = parse_qs((request.body or b"").decode())["refresh_token"][0]
        if self.good and given != self.good:
            answer: dict[str, Any] = {"error": "invalid_grant"}
        else:
            self.issued += 1
            answer = {"access_token": f"access-{self.issued}", "expires_in": 3600}
            if self.rotates:
                self.good = answer["refresh_token"] = f"refresh-{self.issued}"
        if self.during is not None:
            await self.during()
        return Answer(status=200, headers={}, body=json.dumps(answer).encode())


class Killed(BaseException):
    """The process is gone: nothing after it happens."""


class DyingDatabase:
    """A database whose process is killed before or after its operation with this number."""

    def __init__(self, database: Any, at: int, *, committed: bool) -> None:
        self._database = database
        self._left = at
        self._committed = committed
        self.dead = False

    @asynccontextmanager
    async def _one(self, kind: str) -> AsyncIterator[AsyncSession]:
        if self.dead:
            raise Killed
        self._left -= 1
        dies = self._left < 0
        if dies and not self._committed:
            self.dead = True
            raise Killed
        async with AsyncExitStack() as stack:
            yield await stack.enter_async_context(getattr(self._database, kind)())
        if dies:
            self.dead = True
            raise Killed

    def read(self) -> Any:
        return self._one("read")

    def write(self) -> Any:
        return self._one("write")


def refresher(app: FastAPI, http: Any, database: Any = None) -> Refresher:
    whole: Integrations = app.state.integrations
    return Refresher(
        database=database or app.state.database, keys=whole.keys, clock=whole.clock, http=http,
        clients=whole.clients, redirect_uri=whole.redirect_uri, mail=whole.refresher._mail,
    )  # fmt: skip


@pytest.mark.parametrize("committed", [False, True])
async def test_killed_at_every_step_it_recovers_or_asks_to_reconnect(
    app: FastAPI, ada: Person, advance: Advance, committed: bool
) -> None:
    connection = await ada.connect()
    outcomes: set[str] = set()
    for step in range(20):
        http = Rotating()
        advance(HOUR)
        dying = DyingDatabase(app.state.database, step, committed=committed)
        try:
            await refresher(app, http, dying).access(ada.id, connection)
        except Killed:
            pass
        else:
            break
        advance(LEASE)
        with suppress(ConnectionTrouble):
            access = await refresher(app, http).access(ada.id, connection)
            assert access.token.reveal() == f"access-{http.issued}", "the newest token"
        state = (await ada.one(connection))["state"]
        outcomes.add(state)
        if state == "reconnect":
            await ada.connect(connectionId=connection)
        else:
            again = await refresher(app, http).access(ada.id, connection)
            assert again.token.reveal() == f"access-{http.issued}"
        assert (await row_of(app, ada, connection)).lease_by is None
    else:
        raise AssertionError("it never got through")
    assert "ok" in outcomes
    assert outcomes <= {"ok", "reconnect"}


@pytest.mark.parametrize("expired", [False, True])
async def test_disconnecting_ends_an_access_whose_access_token_expired(
    app: FastAPI, ada: Person, advance: Advance, expired: bool
) -> None:
    """With providers that are told by the access token: Slack, Linear, Dropbox, Todoist."""
    connection = await ada.connect()
    row = await row_of(app, ada, connection)
    definition = Provider.model_validate_json(row.definition or b"")
    assert definition.oauth is not None
    # The API answers 401 to tokens that are not good any more.
    revocation = Revocation(style="bearer", url=f"{ada.provider.url}/api/revoke")
    oauth = definition.oauth.model_copy(update={"revocation": revocation})
    changed = definition.model_copy(update={"oauth": oauth}).model_dump_json().encode()
    async with app.state.database.write() as session:
        await session.execute(update(ConnectedAccount).values(definition=changed))
        await session.execute(update(OAuthClient).values(definition=changed))
    first = (await app.state.integrations.access(ada.id, connection)).token.reveal()
    if expired:
        advance(HOUR)
        await ada.provider.set(forgotten=first)

    ended = await ada.browser.delete(f"/api/connections/{connection}")

    assert ended.json()["revoked"] is True
    assert (await ada.provider.set())["api"] == ["POST /api/revoke"], "by a token that is good"
    assert await ada.all() == []


async def test_the_refresh_token_is_kept_when_none_comes_back(
    app: FastAPI, ada: Person, advance: Advance
) -> None:
    connection = await ada.connect()
    http = Rotating(rotates=False)
    mine = refresher(app, http)
    for number in (1, 2, 3):
        advance(HOUR)
        access = await mine.access(ada.id, connection)
        assert access.token.reveal() == f"access-{number}"


async def test_invalid_grant_is_not_believed_when_another_process_was_faster(
    app: FastAPI, ada: Person, advance: Advance
) -> None:
    connection = await ada.connect()
    advance(HOUR)
    slow, fast = Rotating(), Rotating()
    slow.good = "another"  # it answers invalid_grant

    async def faster() -> None:
        # The slow one's process was stopped for longer than its lease.
        advance(LEASE)
        await refresher(app, fast).access(ada.id, connection)

    slow.during = faster
    access = await refresher(app, slow).access(ada.id, connection)

    assert access.token.reveal() == "access-1"
    assert (await ada.one(connection))["state"] == "ok"


@pytest.mark.parametrize("gone", ["connection", "user"])
async def test_new_tokens_of_what_was_deleted_meanwhile_are_revoked(
    app: FastAPI, bob: Person, advance: Advance, gone: str
) -> None:
    connection = await bob.connect()
    advance(HOUR)
    sent: list[str] = []

    class Watching(Rotating):
        async def send(self, request: HttpRequest, **more: Any) -> Answer:
            sent.append(request.url.rpartition("/")[2])
            if request.url.endswith("revocation"):
                return Answer(status=200, headers={}, body=b"")
            return await super().send(request, **more)

    http = Watching()

    async def delete() -> None:
        if gone == "connection":
            await bob.browser.delete(f"/api/connections/{connection}")
            return
        async with app.state.database.write() as session:
            await session.execute(text("DELETE FROM users WHERE id = :id"), {"id": bob.id})

    http.during = delete
    async with asyncio.timeout(10):
        with pytest.raises(ConnectionTrouble):
            await refresher(app, http).access(bob.id, connection)
    assert sent == ["token", "revocation", "revocation"]
