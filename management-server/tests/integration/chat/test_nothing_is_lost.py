"""What the page shows after a reload: long texts whole, messages that wait, runs, files, failures.

Each case runs on a gateway that answers as OpenClaw's `chat.history` does.
"""

import asyncio
from collections.abc import Awaitable, Callable

import httpx2
import pytest
from fastapi import FastAPI
from ocmt_management.chat import conversation
from ocmt_management.chat.history import TOO_LONG
from ocmt_management.llm.errors import ModelError
from ocmt_testing.management.agent_server import FakeAgentServer
from ocmt_testing.management.gateway import FakeGateway
from ocmt_testing.management.page import Frame, Tab
from ocmt_testing.management.people import id_of

OpenTab = Callable[[httpx2.AsyncClient], Awaitable[Tab]]
FILE = "0b8a3c1e-9a2b-4c3d-8e4f-5a6b7c8d9e0f"


@pytest.fixture
def reloaded(
    ada: httpx2.AsyncClient, open_tab: OpenTab
) -> Callable[[], Awaitable[tuple[Tab, list[Frame]]]]:
    async def reload() -> tuple[Tab, list[Frame]]:
        tab = await open_tab(ada)
        await tab.send(type="history")
        return tab, (await tab.gets("history"))["messages"]

    return reload


Reloaded = Callable[[], Awaitable[tuple[Tab, list[Frame]]]]


async def ask(tab: Tab, text: str) -> str:
    sent = await tab.say(text)
    await tab.gets("accepted", id=sent)
    return sent


@pytest.mark.parametrize("length", [8_001, 100_000, 300_000])
async def test_a_long_answer_is_whole_after_a_reload(
    tab: Tab, gateway: FakeGateway, reloaded: Reloaded, length: int
) -> None:
    sent = await ask(tab, "Write a book")
    await gateway.say(sent, "ä" * length)
    await gateway.finish(sent)

    _, [_, answer] = await reloaded()
    assert answer["text"] == "ä" * length


async def test_a_long_question_is_whole_after_a_reload(
    tab: Tab, gateway: FakeGateway, reloaded: Reloaded
) -> None:
    await ask(tab, "x" * 100_000)

    _, [question] = await reloaded()
    assert question["text"] == "x" * 100_000


async def test_a_message_that_the_gateway_no_longer_has_whole_is_said_in_words(
    tab: Tab, gateway: FakeGateway, reloaded: Reloaded
) -> None:
    sent = await ask(tab, "Write a book")
    await gateway.say(sent, "x" * 200_000)
    await gateway.finish(sent)
    gateway.garbled["chat.message.get"] = (
        '"ok":true,"payload":{"ok":false,"unavailableReason":"oversized"}'
    )

    _, [_, answer] = await reloaded()
    assert answer["text"] == TOO_LONG


async def test_messages_written_during_a_run_are_there_after_a_reload(
    tab: Tab, gateway: FakeGateway, reloaded: Reloaded
) -> None:
    gateway.queues = True
    sent = [await ask(tab, text) for text in ("one", "two", "three")]

    late, messages = await reloaded()
    assert [(m["id"], m["text"], m.get("state")) for m in messages] == [
        (sent[0], "one", None),
        (sent[1], "two", "queued"),
        (sent[2], "three", "queued"),
    ]
    await gateway.finish(sent[0])
    run_id = await gateway.take_up(sent[1])
    for one in (tab, late):
        unasked = (await one.gets("history"))["messages"]
        assert [(m["text"], m.get("state")) for m in unasked if m["role"] == "user"] == [
            ("one", None),
            ("two", None),
            ("three", "queued"),
        ]
        assert (await one.gets("delta", runId=run_id))["text"] == ""


@pytest.mark.parametrize("end", ["restart", "stop"])
async def test_messages_that_never_got_their_turn_can_be_sent_again(
    tab: Tab,
    gateway: FakeGateway,
    reloaded: Reloaded,
    monkeypatch: pytest.MonkeyPatch,
    end: str,
) -> None:
    monkeypatch.setattr(conversation, "_RESUMED_WITHIN_S", 0.0)
    gateway.queues = True
    first = await ask(tab, "one")
    second = await ask(tab, "two")
    await tab.gets("final", runId=second)
    if end == "restart":
        await gateway.crash()
        await tab.gets("error", id=first)
    else:
        await tab.send(type="stop")
        await tab.gets("aborted", runId=first)

    _, messages = await reloaded()
    [unread] = [message for message in messages if message["id"] == second]
    assert (unread["text"], unread["state"]) == ("two", "failed")
    assert ("restarted" if end == "restart" else "stopped") in unread["detail"]


async def test_messages_without_a_turn_never_wake_a_stopped_agent(
    tab: Tab,
    gateway: FakeGateway,
    reloaded: Reloaded,
    agent_server: FakeAgentServer,
    ada: httpx2.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(conversation, "_RESUMED_WITHIN_S", 0.0)
    gateway.queues = True
    sent = [await ask(tab, text) for text in ("one", "two")]
    await gateway.crash()
    await tab.gets("error", id=sent[0])
    late, _ = await reloaded()
    asked = len(gateway.asked)
    agent_server.move(await id_of(ada), "stopped")
    for one in (tab, late):
        await one.gets("status", state="stopped")

    await asyncio.sleep(0)  # a catch-up would have begun with the status
    await asyncio.sleep(0.1)
    assert gateway.asked[asked:] == []


async def test_a_run_without_a_word_yet_is_there_after_a_reload(
    tab: Tab, gateway: FakeGateway, reloaded: Reloaded
) -> None:
    sent = await ask(tab, "Think hard")

    late, _ = await reloaded()
    assert (await late.gets("delta", runId=sent))["text"] == ""
    await late.send(type="stop")
    await late.gets("aborted", runId=sent)


async def test_a_tab_opened_during_a_tool_call_has_the_text_once(
    tab: Tab, gateway: FakeGateway, reloaded: Reloaded
) -> None:
    sent = await ask(tab, "Do it")
    await gateway.say(sent, "Let me run a tool.")
    await gateway.call_tool(sent)

    late, messages = await reloaded()
    assert [message["text"] for message in messages] == ["Do it"]
    assert (await late.gets("delta", runId=sent))["text"] == "Let me run a tool."


async def test_a_failure_is_told_in_the_same_words_after_a_reload(
    app: FastAPI, tab: Tab, gateway: FakeGateway, reloaded: Reloaded, ada: httpx2.AsyncClient
) -> None:
    llm = app.state.llm
    sent = await ask(tab, "Hello?")
    llm.last_errors.record(await id_of(ada), ModelError("why", "OpenAI rejected your key."))
    await gateway.fail(sent, "LLM request failed (HTTP 424).")
    live = await tab.gets("error", id=sent)

    _, [question] = await reloaded()
    assert (question["state"], question["detail"]) == ("failed", live["detail"])

    llm.last_errors.forget(await id_of(ada))
    _, [question] = await reloaded()
    assert "Check your key" in question["detail"]


@pytest.mark.parametrize(
    ("kind", "sent_as", "shown"),
    [
        ("image/png", "image/png", "inline"),
        ("image/svg+xml", "application/octet-stream", "attachment"),
        ("text/html; charset=utf-8", "application/octet-stream", "attachment"),
    ],
)
async def test_a_picture_that_the_agent_sent_is_shown_and_other_files_are_saved(
    gateway: FakeGateway,
    reloaded: Reloaded,
    ada: httpx2.AsyncClient,
    kind: str,
    sent_as: str,
    shown: str,
) -> None:
    gateway.files[FILE] = (kind, b"bytes")
    url = f"/api/chat/media/outgoing/agent%3Amain%3Amain/{FILE}/full"
    part = {"type": "image", "url": url, "alt": "A dot"}
    await gateway.row({"role": "assistant", "content": [{"type": "text", "text": "Here:"}, part]})

    _, [message] = await reloaded()
    [file] = message["files"]
    answer = await ada.get(file["url"])
    assert (answer.status_code, answer.content) == (200, b"bytes")
    assert answer.headers["content-type"] == sent_as
    assert answer.headers["content-disposition"] == shown
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_picture_is_in_the_answer_as_soon_as_that_ends(
    tab: Tab, gateway: FakeGateway
) -> None:
    sent = await ask(tab, "Draw a dot")
    await gateway.say(sent, "Here:")
    url = f"/api/chat/media/outgoing/agent%3Amain%3Amain/{FILE}/full"
    await gateway.finish(sent, files=[{"type": "image", "url": url, "alt": "A dot"}])

    final = await tab.gets("final", runId=sent)
    assert "files" not in final["message"]
    [_, answer] = (await tab.gets("history"))["messages"]
    assert (answer["text"], len(answer["files"])) == ("Here:", 1)


async def test_files_are_their_own_users_only(
    gateway: FakeGateway,
    ada: httpx2.AsyncClient,
    sign_in: Callable[[str], Awaitable[httpx2.AsyncClient]],
) -> None:
    gateway.files[FILE] = ("image/png", b"bytes")
    address = f"/api/chat/files/agent:main:main/{FILE}"
    bob = await sign_in("bob@example.com")

    assert (await ada.get(address)).status_code == 200
    assert (await bob.get(address)).status_code == 404
    bob.cookies.clear()
    assert (await bob.get(address)).status_code == 401
    for odd in (f"/api/chat/files/..%2Fx/{FILE}", "/api/chat/files/agent:main:main/x"):
        assert (await ada.get(odd)).status_code in (404, 422)
