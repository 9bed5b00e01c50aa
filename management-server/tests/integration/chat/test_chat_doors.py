"""Access to the chat, its end with the session, and its bounds."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import count
from uuid import uuid4

import httpx2
import pytest
from fastapi import FastAPI
from ocmt_management.auth.models import UserSession
from ocmt_management.auth.sessions import IDLE_LIFE
from ocmt_management.chat.frame_queue import FrameQueue
from ocmt_management.chat.open_chats import MAX_PER_USER
from ocmt_testing.management.agent_server import FakeAgentServer
from ocmt_testing.management.gateway import FakeGateway
from ocmt_testing.management.page import Tab
from ocmt_testing.management.people import agent_is, id_of, until
from ocmt_testing.management.serving import Server
from sqlalchemy import delete, select
from starlette.websockets import WebSocketDisconnect
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

OpenTab = Callable[[httpx2.AsyncClient], Awaitable[Tab]]
SignIn = Callable[[str], Awaitable[httpx2.AsyncClient]]


async def test_each_user_reaches_only_their_own_agent(
    app: FastAPI,
    ada: httpx2.AsyncClient,
    sign_in: SignIn,
    open_tab: OpenTab,
    agent_server: FakeAgentServer,
) -> None:
    bob = await sign_in("bob@example.com")
    ids = {"ada": await id_of(ada), "bob": await id_of(bob)}
    await agent_is(app, ids["bob"], "running")
    tabs = {"ada": await open_tab(ada), "bob": await open_tab(bob)}
    for name, tab in tabs.items():
        sent = await tab.say(f"from {name}")
        await tab.gets("accepted", id=sent)
        await agent_server.gateways[ids[name]].say(sent, f"to {name}")
        await agent_server.gateways[ids[name]].finish(sent)
        assert (await tab.gets("delta"))["text"] == f"to {name}"
        assert (await tab.gets("final"))["message"]["text"] == f"to {name}"
        await tab.send(type="history")

    for name, tab in tabs.items():
        texts = [m["text"] for m in (await tab.gets("history"))["messages"]]
        assert texts == [f"from {name}", f"to {name}"]
        assert not [frame for frame in tab.frames if frame["type"] in ("delta", "final")]


async def test_a_frame_cannot_name_another_user_or_session(
    tab: Tab, gateway: FakeGateway, agent_server: FakeAgentServer
) -> None:
    for more in ({"userId": "bob"}, {"sessionKey": "agent:main:other"}):
        await tab.send(type="send", id=str(uuid4()), text="hi", **more)
        error = await tab.gets("error", code="invalid-frame")
        assert error["retry"] is False

    assert gateway.asked == []


async def test_a_stranger_is_refused(served: Server, ada: httpx2.AsyncClient) -> None:
    cookies = "; ".join(f"{name}={value}" for name, value in ada.cookies.items())
    origin = str(ada.base_url).rstrip("/")
    for headers in (
        {"origin": origin},
        {"origin": origin, "cookie": "ocmt_session=" + "x" * 43},
        {"origin": "https://evil.example", "cookie": cookies},
        {"cookie": cookies},
    ):
        with pytest.raises(InvalidStatus) as refused:
            await connect(
                f"ws{served.url.removeprefix('http')}/api/chat",
                additional_headers=headers,
                proxy=None,
            )
        assert refused.value.response.status_code == 403, headers


async def test_signing_out_ends_every_chat_of_that_session(
    ada: httpx2.AsyncClient, sign_in_admin: SignIn, open_tab: OpenTab
) -> None:
    elsewhere = await sign_in_admin("ada@example.com")
    here, there = [await open_tab(ada) for _ in range(2)], await open_tab(elsewhere)
    for tab in (*here, there):
        await tab.gets("status")
    await ada.delete("/api/auth/session")

    assert [await tab.closed() for tab in here] == [4401, 4401]
    await there.say("still here")
    await there.gets("accepted")


async def test_a_suspended_users_chat_ends_at_once(
    ada: httpx2.AsyncClient, sign_in: SignIn, open_tab: OpenTab
) -> None:
    bob = await sign_in("bob@example.com")
    tab = await open_tab(bob)
    await tab.gets("status")
    await ada.patch(f"/api/admin/users/{await id_of(bob)}", json={"status": "suspended"})

    assert await tab.closed() == 4401


@pytest.mark.parametrize("end", ["idle", "absolute"])
async def test_a_chat_ends_with_its_session(
    *,
    app: FastAPI,
    ada: httpx2.AsyncClient,
    open_tab: OpenTab,
    advance: Callable[[timedelta], None],
    end: str,
) -> None:
    if end == "absolute":
        for _ in range(9):
            advance(timedelta(days=9, hours=23))
            assert (await ada.get("/api/auth/sessions")).status_code == 200
    life = IDLE_LIFE if end == "idle" else timedelta(hours=9)
    advance(life - timedelta(seconds=1))
    tab = await open_tab(ada)
    await tab.gets("status")
    advance(timedelta(seconds=1))

    async with asyncio.timeout(10):
        assert await tab.closed() == 4401


async def test_a_chat_ends_when_another_process_ended_its_session(
    app: FastAPI, ada: httpx2.AsyncClient, open_tab: OpenTab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ocmt_management.auth.socket_session._CHECK_EVERY_S", 0.1)
    tab = await open_tab(ada)
    await tab.gets("status")
    async with app.state.database.write() as session:
        await session.execute(delete(UserSession))

    async with asyncio.timeout(10):
        assert await tab.closed() == 4401


async def last_used(app: FastAPI) -> datetime:
    async with app.state.database.read() as session:
        used_at: datetime = await session.scalar(select(UserSession.last_used_at))
    return used_at


async def test_an_open_tab_is_no_use_of_the_session_and_a_message_is(
    *,
    app: FastAPI,
    ada: httpx2.AsyncClient,
    open_tab: OpenTab,
    advance: Callable[[timedelta], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ocmt_management.auth.socket_session._CHECK_EVERY_S", 0.05)
    began = await last_used(app)
    advance(timedelta(days=13))
    for _ in range(2):  # a page that opens its chat again by itself
        tab = await open_tab(ada)
        await tab.gets("status")
        await tab.send(type="history")
        await tab.gets("history")
        await ada.get("/api/me")
        await tab.close()
    tab = await open_tab(ada)
    await tab.gets("status")
    assert await last_used(app) == began

    await tab.say("I am here")
    await tab.gets("accepted")
    assert await last_used(app) == began + timedelta(days=13)
    advance(timedelta(days=2))
    await tab.say("still")
    await tab.gets("accepted")


@pytest.mark.parametrize("size", [256 * 1024, 16 * 1024 * 1024])
async def test_a_frame_above_256_kib_ends_the_chat(
    tab: Tab, gateway: FakeGateway, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # How long it reads on; its sender waits for the connection's end.
    monkeypatch.setattr("ocmt_common.sockets._LISTEN_ON_S", 0.5 if size < 1_000_000 else 2.0)
    with suppress(ConnectionClosed):  # it may have hung up before it had all
        await tab.say("x" * size)

    assert await tab.closed() == 1009
    assert gateway.asked == []


async def test_a_frame_of_almost_256_kib_is_a_message(tab: Tab, gateway: FakeGateway) -> None:
    text = "x" * 250 * 1024
    await tab.say(text)
    await tab.gets("accepted")

    assert gateway.rows[0]["content"] == text


async def test_what_is_not_understood_is_answered_and_the_chat_goes_on(tab: Tab) -> None:
    for text in ("", "{", "null", '{"type":"dance"}', "[" * 10_000, '{"type":"send"}', "\ud800"):
        await tab.socket.send(text.encode(errors="replace").decode())
        await tab.gets("error", code="invalid-frame", id=None)
    await tab.socket.send(b"\x00\x01")
    await tab.gets("error", code="invalid-frame")
    await tab.say("Hello?")
    await tab.gets("accepted")


async def test_more_chats_than_the_limit_are_refused(
    app: FastAPI, ada: httpx2.AsyncClient, open_tab: OpenTab
) -> None:
    tabs = [await open_tab(ada) for _ in range(MAX_PER_USER)]
    for tab in tabs:
        await tab.gets("status")
    one_more = await open_tab(ada)
    assert await one_more.closed() == 1013

    await tabs[0].close()
    chats = app.state.open_chats
    await until(lambda: sum(chats._open.values()) < MAX_PER_USER)
    await (await open_tab(ada)).gets("status")


async def test_a_browser_that_does_not_read_is_disconnected(
    ada: httpx2.AsyncClient,
    served: Server,
    gateway: FakeGateway,
    monkeypatch: pytest.MonkeyPatch,
    app: FastAPI,
) -> None:
    defaults = FrameQueue.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "max_bytes", 64 * 1024)
    cookies = "; ".join(f"{name}={value}" for name, value in ada.cookies.items())
    origin = str(ada.base_url).rstrip("/")
    url = f"ws{served.url.removeprefix('http')}/api/chat"
    headers = {"origin": origin, "cookie": cookies}
    async with connect(
        url, additional_headers=headers, proxy=None, max_queue=1, close_timeout=1
    ) as slow:
        await slow.send(json.dumps({"type": "send", "id": str(uuid4()), "text": "Go on"}))
        while "chat.send" not in [method for method, _ in gateway.asked]:
            await gateway.requests.get()
        user_id = await id_of(ada)
        async with asyncio.timeout(30):
            # Its socket to the gateway ends with the chat.
            with suppress(WebSocketDisconnect):
                for number in count():
                    await gateway.say(f"run-{number}", "x" * 100_000)
        await until(lambda: not app.state.open_chats._open[user_id])


async def test_nothing_of_a_closed_chat_stays_behind(
    ada: httpx2.AsyncClient, open_tab: OpenTab, gateway: FakeGateway, app: FastAPI
) -> None:
    tab = await open_tab(ada)
    await tab.say("Hello?")
    await tab.gets("accepted")
    await tab.close()

    await until(lambda: not gateway.sockets and not app.state.open_chats._open)
    assert not app.state.agents.statuses._watchers
