"""Invalid frames from a gateway become an error message in the page; nothing crashes."""

import json
from collections.abc import Awaitable, Callable, Iterator

import httpx2
import pytest
from ocmt_common.bounded_json import MOST_VALUES
from ocmt_management.agents import gateway as client
from ocmt_testing.management.gateway import FakeGateway
from ocmt_testing.management.page import Tab

MANY = "[" + "{}," * MOST_VALUES + "{}]"
DEEP = "[" * 50_000 + "]" * 50_000


@pytest.fixture(autouse=True)
def nothing_crashes(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    monkeypatch.setattr(client, "_RETRIES_FOR_S", 0.5)
    yield
    assert not [record.getMessage() for record in caplog.records if record.exc_info]


def chat(**payload: object) -> str:
    common = {"runId": "r", "sessionKey": "agent:main:main", "state": "final"}
    return json.dumps({"type": "event", "event": "chat", "payload": common | payload})


def row(**message: object) -> str:
    payload = {"sessionKey": "agent:main:main", "message": message}
    return json.dumps({"type": "event", "event": "session.message", "payload": payload})


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "5", "null", '"x"', DEEP, MANY, "\x00"),
        '{"type":5}',
        '{"type":"event"}',
        '{"type":"event","event":[],"payload":{}}',
        '{"type":"event","event":"chat","payload":5}',
        f'{{"type":"event","event":"chat","payload":{{"a":{MANY}}}}}',
        '{"type":"res"}',
        '{"type":"res","id":{},"ok":true}',
        '{"type":"event","event":"chat","payload":{"a":"\\ud83d"}}',
        chat(runId=[], message=5),
        chat(message={"content": [5, None, {"type": "text", "text": {}}]}),
        chat(message={"content": "x", "timestamp": 1e300}),
        chat(message={"content": "x", "timestamp": -1e300}),
        chat(message={"content": "x", "timestamp": 10**40}),
        chat(message={"content": "x", "timestamp": True}),
        chat(state=["final"]),
        chat(state="error", errorMessage={"a": []}),
        row(role={}, content={}),
        row(role="user", idempotencyKey=5, __openclaw=[]),
        row(role="assistant", __openclaw={"runId": {}, "id": []}),
    ],
    ids=lambda text: text[:60],
)
async def test_any_frame_leaves_the_chat_usable(tab: Tab, gateway: FakeGateway, text: str) -> None:
    first = await tab.say("Hello?")
    await tab.gets("accepted", id=first)
    await gateway.blurt(text)
    await gateway.say(first, "Yes.")
    await gateway.finish(first)
    await tab.gets("final", runId=first)

    second = await tab.say("Still there?")
    await tab.gets("accepted", id=second)
    await gateway.finish(second)
    await tab.gets("final", runId=second)


@pytest.mark.parametrize(
    "answer",
    [
        '"ok":true,"payload":{"messages":5}',
        '"ok":true,"payload":{"messages":[5,null,{"role":[]},{"role":"user","content":{}}]}',
        '"ok":true,"payload":{"messages":[{"role":"user","content":"x","timestamp":1e300}]}',
        '"ok":true,"payload":{"messages":[{"role":"user","content":"x","timestamp":"y"}]}',
        '"ok":true,"payload":{"messages":[],"inFlightRun":[],"pendingInputs":{"items":[5]}}',
        '"ok":true,"payload":{"inFlightRun":{"runId":"r","text":[]}}',
        '"ok":true',
        '"ok":[],"payload":[]',
    ],
)
async def test_any_history_is_shown_or_reported_as_an_error(
    tab: Tab, gateway: FakeGateway, answer: str
) -> None:
    gateway.garbled["chat.history"] = answer
    await tab.send(type="history")
    told = await tab.find(lambda frame: frame["type"] in ("history", "error"))

    assert told["type"] == "history" or told["detail"]


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        (f'"ok":true,"payload":{{"messages":{MANY}}}', "too large"),
        ('"ok":false', "refused"),
        ('"ok":false,"error":"x"', "refused"),
        ('"ok":false,"error":{"message":[],"code":{},"retryAfterMs":[]}', "refused"),
        ('"ok":false,"error":{"message":"Later.","retryable":1,"retryAfterMs":"x"}', "Later."),
        ('"ok":false,"error":{"message":"No.","retryAfterMs":1e300}', "No."),
        ('"ok":tru', "lost"),
        (f'"ok":true,"payload":{DEEP}', "lost"),
    ],
    ids=["many", "none", "text", "odd", "odd time", "long time", "cut", "deep"],
)
async def test_an_invalid_answer_is_reported_in_words(
    tab: Tab, gateway: FakeGateway, answer: str, detail: str
) -> None:
    gateway.garbled["chat.send"] = answer
    sent = await tab.say("Hello?")

    told = await tab.find(lambda frame: frame["type"] in ("error", "accepted"))
    assert told["id"] == sent
    assert told["type"] == "accepted" or detail in told["detail"]


@pytest.mark.parametrize(
    "hello",
    [
        '"ok":tru',
        '"ok":false',
        '"ok":false,"error":[]',
        '"ok":false,"error":{"message":{"a":1}}',
        f'"ok":true,"payload":{DEEP}',
        f'"ok":true,"payload":{MANY}',
    ],
    ids=["cut", "no error", "odd error", "odd message", "deep", "many"],
)
async def test_an_invalid_handshake_is_reported_in_words(
    open_tab: Callable[[httpx2.AsyncClient], Awaitable[Tab]],
    ada: httpx2.AsyncClient,
    gateway: FakeGateway,
    hello: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "_ANSWER_TIMEOUT_S", 2)
    gateway.hello = hello
    tab = await open_tab(ada)
    sent = await tab.say("Hello?")

    told = await tab.gets("error", id=sent)
    assert told["retry"] is True
    assert "None" not in told["detail"]
