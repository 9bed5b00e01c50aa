"""Files that the user attaches, and the calls of tools, in a conversation over `/api/chat`."""

import asyncio
import base64
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from fastapi import FastAPI
from ocmt_testing.management.gateway import MAIN_KEY, FakeGateway
from ocmt_testing.management.page import Tab

SignIn = Callable[[str], Awaitable[httpx2.AsyncClient]]
PIECE = 180 * 1024
PNG = b"\x89PNG\r\n\x1a\n" + bytes(184_900)


async def attach(tab: Tab, message_id: str, number: int, content: bytes) -> None:
    at = 0
    for begin in range(0, len(content), PIECE):
        data = base64.b64encode(content[begin : begin + PIECE]).decode()
        await tab.send(type="attach", id=message_id, file=number, at=at, data=data)
        at += len(data)


async def test_files_reach_the_agent_and_come_back_with_the_history(
    tab: Tab, gateway: FakeGateway, ada: httpx2.AsyncClient, sign_in: SignIn
) -> None:
    sent = str(uuid4())
    await attach(tab, sent, 0, PNG)
    await attach(tab, sent, 1, b"<script>alert(1)</script>")
    names = [
        {"name": 'dot ".png', "type": "image/png"},
        {"name": "../\u202ep.html", "type": "text/html"},
    ]
    await tab.send(type="send", id=sent, text="", files=names)
    await tab.gets("accepted", id=sent)
    assert list(gateway.attached.values()) == [PNG, b"<script>alert(1)</script>"]

    await gateway.say(sent, "Nice.")
    await gateway.finish(sent)
    await tab.gets("final", runId=sent)
    await tab.send(type="history")
    [question, _] = (await tab.gets("history"))["messages"]
    assert (question["id"], question["text"]) == (sent, "")
    assert [file["name"] for file in question["files"]] == ['dot ".png', "../\u202ep.html"]
    picture, page = [await ada.get(file["url"]) for file in question["files"]]
    assert picture.content == PNG
    assert picture.headers["content-type"] == "image/png"
    assert page.headers["content-type"] == "application/octet-stream"
    assert page.headers["content-disposition"] == "attachment"
    assert page.headers["x-content-type-options"] == "nosniff"

    bob = await sign_in("bob@example.com")
    assert (await bob.get(question["files"][0]["url"])).status_code == 404
    bob.cookies.clear()
    assert (await bob.get(question["files"][0]["url"])).status_code == 401


@pytest.mark.parametrize(
    ("pieces", "files", "code"),
    [
        ([], 1, "files-incomplete"),
        ([(0, 0)], 2, "files-incomplete"),
        ([(0, 0), (0, 8)], 1, "files-incomplete"),
    ],
)
async def test_a_message_whose_files_are_incomplete_is_refused_and_can_be_sent_again(
    *,
    tab: Tab,
    gateway: FakeGateway,
    pieces: list[tuple[int, int]],
    files: int,
    code: str,
) -> None:
    sent = str(uuid4())
    for number, at in pieces:
        await tab.send(type="attach", id=sent, file=number, at=at, data="AAAA")
    names = [{"name": "a", "type": "text/plain"}] * files
    await tab.send(type="send", id=sent, text="Look", files=names)
    assert (await tab.gets("error", id=sent, code=code))["retry"] is True
    assert gateway.attached == {}

    for number in range(files):
        await tab.send(type="attach", id=sent, file=number, at=0, data="AAAA")
    await tab.send(type="send", id=sent, text="Look", files=names)
    await tab.gets("accepted", id=sent)
    assert len(gateway.attached) == files


async def test_what_openclaw_refuses_is_explained(tab: Tab, gateway: FakeGateway) -> None:
    message = "attachment big.png: image exceeds size limit (7000000 > 6291456 bytes)"
    gateway.refusals_of["chat.send"].append({"code": "INVALID_REQUEST", "message": message})
    sent = str(uuid4())
    await tab.send(type="attach", id=sent, file=0, at=0, data="AAAA")
    files = [{"name": "big.png", "type": "image/png"}]
    await tab.send(type="send", id=sent, text="Look", files=files)
    assert "6 MB" in (await tab.gets("error", id=sent))["detail"]


async def test_the_files_of_a_chat_that_ends_are_dropped(app: FastAPI, tab: Tab) -> None:
    await tab.send(type="attach", id=str(uuid4()), file=0, at=0, data="AAAA")
    await tab.send(type="history")
    await tab.gets("history")
    assert app.state.upload_space.chars >= 4
    await tab.close()
    async with asyncio.timeout(60):
        while app.state.upload_space.chars:  # noqa: ASYNC110 (nothing tells)
            await asyncio.sleep(0.01)


async def test_calls_of_tools_are_shown_while_they_run_and_after_a_reload(
    tab: Tab, gateway: FakeGateway
) -> None:
    sent = await tab.say("List the files")
    await tab.gets("accepted", id=sent)
    call = {"type": "toolCall", "id": "c1", "name": "exec", "arguments": {"command": "ls"}}
    meta = {"id": "row-call", "runId": sent}
    await gateway.row({"role": "assistant", "content": [call], "__openclaw": meta})
    begun = (await tab.gets("work", runId=sent))["tool"]
    assert (begun["name"], begun["state"], begun["subject"]) == ("exec", "running", "ls")

    await tab.send(type="history")
    await tab.gets("history")
    assert (await tab.gets("work", runId=sent))["tool"] == begun

    told = {"content": [{"type": "text", "text": "a.txt"}]}
    await gateway.report_tool(sent, {"phase": "result", "toolCallId": "c1", "result": told})
    ended = (await tab.gets("work", runId=sent))["tool"]
    assert (ended["state"], ended["result"]) == ("done", "a.txt")

    result: dict[str, Any] = {"role": "toolResult", "toolCallId": "c1", **told}
    gateway.transcripts[MAIN_KEY].append(result)
    await gateway.say(sent, "One.")
    await gateway.finish(sent)
    await tab.gets("final", runId=sent)
    await tab.send(type="history")
    [_, answer] = (await tab.gets("history"))["messages"]
    assert answer["tools"] == [ended]
