"""Devices are notified of answers and decisions, by a push service that reads nothing of them."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from ocmt_management.notifications import sender
from ocmt_management.notifications.service import ATTENTION_LASTS
from ocmt_management.outbound import client as outbound
from ocmt_testing.management.agent_server import FakeAgentServer
from ocmt_testing.management.page import Tab
from ocmt_testing.management.people import agent_is, id_of, until
from ocmt_testing.management.push_service import Device, PushService, signed_claims
from ocmt_testing.management.serving import Server
from starlette.responses import RedirectResponse, Response

SignIn = Callable[[str], Awaitable[httpx2.AsyncClient]]
ADA = "ada@example.com"
SUBSCRIPTION = "/api/notifications/subscription"


@pytest.fixture
async def ada(app: FastAPI, sign_in: SignIn) -> httpx2.AsyncClient:
    browser = await sign_in(ADA)
    await agent_is(app, await id_of(browser), "running")
    return browser


@pytest.fixture
async def device(ada: httpx2.AsyncClient, push_service: PushService) -> Device:
    """Ada's device, which takes notifications."""
    return await subscribed(ada, push_service)


@pytest.fixture
async def tab(ada: httpx2.AsyncClient, served: Server) -> AsyncIterator[Tab]:
    opened = await Tab.open(ada, served.url)
    yield opened
    await opened.close()


async def subscribed(browser: httpx2.AsyncClient, service: PushService, name: str = "a") -> Device:
    device = Device(service.server.url, name)
    answer = await browser.put(SUBSCRIPTION, json=device.subscription())
    assert answer.status_code == 204, answer.text
    return device


async def is_on(browser: httpx2.AsyncClient) -> bool:
    return bool((await browser.get("/api/notifications")).json()["on"])


async def notify(app: FastAPI, user_id: str, number: int = 1) -> None:
    app.state.notifications.waits(user_id, number)
    await app.state.notifications.sent()


async def test_a_finished_answer_reaches_the_device_and_nobody_on_the_way_can_read_it(
    app: FastAPI,
    ada: httpx2.AsyncClient,
    device: Device,
    tab: Tab,
    agent_server: FakeAgentServer,
    push_service: PushService,
    times: dict[str, datetime],
) -> None:
    gateway = agent_server.gateways[await id_of(ada)]
    run = await tab.say("What is the secret?")
    await tab.gets("accepted")
    await gateway.say(run, "It is xyzzy.")
    await gateway.finish(run)
    await tab.gets("final")

    pushed = await asyncio.wait_for(push_service.pushed.get(), 60)

    assert device.read(pushed.body) == {"kind": "answer", "conversation": "main"}
    assert pushed.path == "/push/a"
    assert b"answer" not in pushed.body
    assert int(pushed.headers["ttl"]) > 3600
    claims, key = signed_claims(pushed.headers["authorization"])
    assert claims["aud"] == push_service.server.url
    assert 0 < claims["exp"] - times["now"].timestamp() <= 24 * 3600
    assert key == (await ada.get("/api/notifications")).json()["key"]
    await app.state.notifications.sent()
    assert push_service.pushed.empty()


async def test_an_answer_whose_page_went_away_reaches_the_device(
    ada: httpx2.AsyncClient,
    device: Device,
    tab: Tab,
    agent_server: FakeAgentServer,
    push_service: PushService,
) -> None:
    gateway = agent_server.gateways[await id_of(ada)]
    conversation = "11111111-1111-4111-8111-111111111111"
    await tab.send(type="send", id=conversation, text="Think long.", conversation=conversation)
    await tab.gets("accepted")
    await gateway.say(conversation, "I think")
    await tab.gets("delta")
    await tab.close()
    # The server follows the answer on a connection of its own, and only then it ends.
    async with asyncio.timeout(60):
        while gateway.asked[-1][0] != "chat.history":
            await gateway.requests.get()
    await gateway.say(conversation, ", therefore.")
    await gateway.finish(conversation)

    pushed = await asyncio.wait_for(push_service.pushed.get(), 60)

    assert device.read(pushed.body) == {"kind": "answer", "conversation": conversation}
    assert not gateway.sockets or await _closed(gateway)


async def _closed(gateway: Any) -> bool:
    async with asyncio.timeout(60):
        while gateway.sockets:  # noqa: ASYNC110 (the double has no event for it)
            await asyncio.sleep(0.01)
    return True


async def test_no_agent_is_followed_for_a_user_without_notifications(
    ada: httpx2.AsyncClient, tab: Tab, agent_server: FakeAgentServer, app: FastAPI
) -> None:
    gateway = agent_server.gateways[await id_of(ada)]
    run = await tab.say("Think long.")
    await tab.gets("accepted")
    await gateway.say(run, "I think")
    await tab.gets("delta")
    asked = len(gateway.asked)
    await tab.close()
    # Not before its chat has ended here is the follower told of the answer.
    await until(lambda: not app.state.open_chats._open)
    await asyncio.gather(*app.state.answer_follower._tasks)
    await _closed(gateway)
    assert len(gateway.asked) == asked
    assert app.state.answer_follower._followed == {}


@pytest.mark.both_databases
async def test_a_visible_page_keeps_every_device_quiet_until_it_is_hidden_or_gone(
    app: FastAPI,
    ada: httpx2.AsyncClient,
    device: Device,
    push_service: PushService,
    advance: Callable[[timedelta], None],
) -> None:
    user = await id_of(ada)
    await ada.put("/api/notifications/attention", json={"visible": True})
    await notify(app, user)
    assert push_service.pushed.empty()

    await ada.put("/api/notifications/attention", json={"visible": False})
    await notify(app, user, 2)
    assert device.read(push_service.pushed.get_nowait().body) == {"kind": "decision", "number": 2}

    await ada.put("/api/notifications/attention", json={"visible": True})
    advance(ATTENTION_LASTS)  # a phone that was switched off says nothing any more
    await notify(app, user, 3)
    assert device.read(push_service.pushed.get_nowait().body) == {"kind": "decision", "number": 3}


@pytest.mark.both_databases
@pytest.mark.parametrize("end", ["sign out", "elsewhere", "everywhere", "suspended", "idle"])
async def test_a_subscription_ends_with_the_session_and_with_the_user(
    app: FastAPI,
    sign_in: SignIn,
    sign_in_admin: SignIn,
    push_service: PushService,
    advance: Callable[[timedelta], None],
    end: str,
) -> None:
    admin = await sign_in_admin("admin@example.com")
    phone, laptop = await sign_in(ADA), await sign_in(ADA)
    user = await id_of(phone)
    await subscribed(phone, push_service)
    match end:
        case "sign out":
            await phone.delete("/api/auth/session")
        case "elsewhere":
            listed = (await phone.get("/api/auth/sessions")).json()["sessions"]
            [mine] = [one["id"] for one in listed if one["current"]]
            await laptop.delete(f"/api/auth/sessions/{mine}")
        case "everywhere":
            await laptop.delete("/api/auth/sessions")
        case "suspended":
            await admin.patch(f"/api/admin/users/{user}", json={"status": "suspended"})
        case "idle":
            advance(timedelta(days=15))

    await notify(app, user)

    assert push_service.pushed.empty()


@pytest.mark.both_databases
async def test_each_user_and_each_device_gets_its_own_and_turns_off_its_own(
    app: FastAPI, sign_in: SignIn, push_service: PushService
) -> None:
    phone, laptop, bob = await sign_in(ADA), await sign_in(ADA), await sign_in("bob@example.com")
    await subscribed(phone, push_service, "phone")
    await subscribed(laptop, push_service, "laptop")
    bobs = await subscribed(bob, push_service, "bob")

    await notify(app, await id_of(bob))
    pushed = push_service.pushed.get_nowait()
    assert (pushed.path, bobs.read(pushed.body)["number"]) == ("/push/bob", 1)
    assert push_service.pushed.empty()

    await bob.delete(SUBSCRIPTION)
    await laptop.delete(SUBSCRIPTION)
    assert [await is_on(one) for one in (phone, laptop, bob)] == [True, False, False]
    assert (await laptop.get("/api/notifications")).json()["anywhere"]
    await notify(app, await id_of(phone), 7)
    assert push_service.pushed.get_nowait().path == "/push/phone"
    assert push_service.pushed.empty()

    again = await subscribed(phone, push_service, "phone-again")  # the browser made a new one
    await notify(app, await id_of(phone), 8)
    pushed = push_service.pushed.get_nowait()
    assert (pushed.path, again.read(pushed.body)["number"]) == ("/push/phone-again", 8)
    assert push_service.pushed.empty()


@pytest.mark.both_databases
async def test_the_tabs_of_a_device_may_subscribe_at_once(
    app: FastAPI, ada: httpx2.AsyncClient, push_service: PushService
) -> None:
    bodies = [Device(push_service.server.url, str(n)).subscription() for n in range(10)]
    answers = await asyncio.gather(*(ada.put(SUBSCRIPTION, json=body) for body in bodies))
    assert {answer.status_code for answer in answers} == {204}
    await notify(app, await id_of(ada))
    assert push_service.pushed.qsize() == 1


@pytest.mark.parametrize(
    ("endpoint", "code"),
    [
        ("http://push.example.com/x", "url-insecure"),
        ("http://127.0.0.1:3000/x", "url-insecure"),  # although the operator named the host
        ("https://10.0.0.1/x", "address-refused"),
        ("https://169.254.169.254/latest/meta-data", "address-refused"),
        ("https://[::1]:3000/x", "address-refused"),
        ("https://2130706433/x", "address-refused"),
        ("https://ada:pass@push.example.com/x", "url-invalid"),
        ("javascript:alert(1)", "url-invalid"),
        ("", "url-invalid"),
        (f"https://push.example.com/{'x' * 1000}", "invalid-request"),
    ],
)
async def test_an_address_that_users_may_not_use_is_refused(
    ada: httpx2.AsyncClient, push_service: PushService, endpoint: str, code: str
) -> None:
    body = Device(push_service.server.url).subscription(endpoint=endpoint)
    answer = await ada.put(SUBSCRIPTION, json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert not await is_on(ada)


async def test_a_name_of_this_machine_is_never_dialled(
    app: FastAPI, ada: httpx2.AsyncClient, push_service: PushService, quiet_logs: list[Any]
) -> None:
    url = f"https://localhost:{push_service.server.port}/x"
    body = Device(push_service.server.url).subscription(endpoint=url)
    assert (await ada.put(SUBSCRIPTION, json=body)).status_code == 204
    await notify(app, await id_of(ada))
    assert push_service.pushed.empty()
    assert any("address is refused" in line["event"] for line in quiet_logs)


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("publicKey", "B" + "A" * 86, "push-key-invalid"),
        ("publicKey", "AAAA", "invalid-request"),
        ("publicKey", "é" * 87, "invalid-request"),
        ("auth", "", "invalid-request"),
        ("auth", "A" * 23, "invalid-request"),
    ],
)
async def test_keys_that_no_browser_makes_are_refused(
    ada: httpx2.AsyncClient, push_service: PushService, field: str, value: str, code: str
) -> None:
    body = Device(push_service.server.url).subscription(**{field: value})
    answer = await ada.put(SUBSCRIPTION, json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, code)


@pytest.mark.parametrize(
    ("answers", "requests", "on"),
    [
        ([Response(status_code=410)], 1, False),
        ([Response(status_code=404)], 1, False),
        ([Response(status_code=503), Response(status_code=429)], 3, True),
        ([Response(status_code=500)] * 3, 3, True),
        ([Response(status_code=403)], 1, True),
        ([RedirectResponse("/elsewhere")], 1, True),
        ([Response("x" * 1_000_000, status_code=201)], 1, True),
    ],
    ids=["gone", "unknown", "busy", "broken", "refused", "redirect", "endless"],
)
async def test_each_answer_of_a_push_service(
    app: FastAPI,
    ada: httpx2.AsyncClient,
    device: Device,
    push_service: PushService,
    monkeypatch: pytest.MonkeyPatch,
    answers: list[Response],
    requests: int,
    on: bool,
) -> None:
    monkeypatch.setattr(sender, "_RETRIES_AFTER_S", (0.0, 0.0))
    push_service.answers = list(answers)
    await notify(app, await id_of(ada))
    assert push_service.pushed.qsize() == requests
    assert await is_on(ada) is on


@pytest.mark.parametrize("how", ["unknown", "unanswered"])
async def test_a_name_that_is_not_resolved_is_asked_for_once(
    app: FastAPI,
    ada: httpx2.AsyncClient,
    push_service: PushService,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
) -> None:
    monkeypatch.setattr(sender, "_RETRIES_AFTER_S", (0.0, 0.0))
    monkeypatch.setattr(outbound, "_RESOLVE_TIMEOUT_S", 0.1)
    getaddrinfo, asked, over = socket.getaddrinfo, [], threading.Event()

    def resolve(host: str, *args: Any, **named: Any) -> Any:
        if host != "nowhere.example":
            return getaddrinfo(host, *args, **named)
        asked.append(host)
        if how == "unanswered":
            over.wait(20)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    body = Device(push_service.server.url).subscription(endpoint="https://nowhere.example/x")
    assert (await ada.put(SUBSCRIPTION, json=body)).status_code == 204
    await notify(app, await id_of(ada))
    over.set()
    assert len(asked) == 1


async def test_a_subscription_whose_messages_fail_in_a_row_is_deleted(
    app: FastAPI,
    ada: httpx2.AsyncClient,
    device: Device,
    sign_in: SignIn,
    push_service: PushService,
) -> None:
    bob = await sign_in("bob@example.com")
    await subscribed(bob, push_service, "bob")
    user, other = await id_of(ada), await id_of(bob)

    async def fails(times: int) -> None:
        for _ in range(times):
            await notify(app, other)
            await notify(app, user)

    push_service.refused = {"a"}
    for _ in range(6):  # none is taken, of any device: that may be this server's trouble
        await notify(app, user)
    await fails(3)
    assert await is_on(ada)
    push_service.refused = set()
    await notify(app, user)
    push_service.refused = {"a"}
    await fails(4)
    assert await is_on(ada)
    await fails(1)
    assert not await is_on(ada)
    assert await is_on(bob)


async def test_of_many_messages_at_once_the_first_and_the_latest_are_sent(
    app: FastAPI, ada: httpx2.AsyncClient, device: Device, push_service: PushService
) -> None:
    user = await id_of(ada)
    for number in range(20):
        app.state.notifications.waits(user, number)
    app.state.notifications.answered(user, "run", "main")
    await app.state.notifications.sent()
    read = [device.read(push_service.pushed.get_nowait().body) for _ in range(6)]
    assert sorted(one.get("number", -1) for one in read) == [-1, 0, 1, 2, 3, 19]
    assert push_service.pushed.empty()


async def test_the_messages_of_one_user_are_bounded(
    app: FastAPI, ada: httpx2.AsyncClient, device: Device, push_service: PushService
) -> None:
    user = await id_of(ada)
    for number in range(40):
        await notify(app, user, number)
    assert push_service.pushed.qsize() == 30


async def test_devices_that_do_not_answer_occupy_no_more_than_their_users_part(
    app: FastAPI, sign_in: SignIn, push_service: PushService
) -> None:
    push_service.silent = {"phone", "laptop", "tablet"}
    for name in push_service.silent:
        ada = await sign_in(ADA)
        await subscribed(ada, push_service, name)
    bob = await sign_in("bob@example.com")
    await subscribed(bob, push_service, "bob")
    user, other = await id_of(ada), await id_of(bob)
    for number in range(30):
        app.state.notifications.waits(user, number)
    async with asyncio.timeout(10):
        while push_service.waiting < 4:  # noqa: ASYNC110 (the double has no event for it)
            await asyncio.sleep(0.01)
        app.state.notifications.waits(other, 1)
        while (await push_service.pushed.get()).path != "/push/bob":
            pass
    await asyncio.sleep(0.2)
    assert push_service.waiting == 4


async def test_a_run_is_remembered_by_a_digest(
    app: FastAPI, ada: httpx2.AsyncClient, device: Device, push_service: PushService
) -> None:
    user, notifications = await id_of(ada), app.state.notifications
    for run in ("x" * 1_000_000, "x" * 1_000_000, "\ud800"):
        notifications.answered(user, run, "main")
    await notifications.sent()
    assert push_service.pushed.qsize() == 2
    assert [len(one) for one in notifications._answered] == [32, 32]


async def test_all_messages_have_one_length(
    app: FastAPI, ada: httpx2.AsyncClient, device: Device, push_service: PushService
) -> None:
    user = await id_of(ada)
    await notify(app, user)
    app.state.notifications.answered(user, "run", "11111111-1111-4111-8111-111111111111")
    app.state.notifications.answered(user, "run", "11111111-1111-4111-8111-111111111111")
    await app.state.notifications.sent()
    bodies = [push_service.pushed.get_nowait().body for _ in range(2)]
    assert len({len(body) for body in bodies}) == 1
    assert push_service.pushed.empty()
