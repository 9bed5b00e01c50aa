"""Calls at `/mcp` that have to be asked for: a real tool server counts what reaches it."""

import asyncio
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from ocmt_management.tools.approval_results import mark_of
from ocmt_testing.management.agent_server import FakeAgentServer
from ocmt_testing.management.mcp_servers import RealServer
from ocmt_testing.management.tool_user import HEADERS, ToolUser, text_of


async def waiting(user: ToolUser) -> dict[str, Any]:
    async with asyncio.timeout(10):
        while True:
            answer = await user.browser.get("/api/approvals")
            for approval in answer.json()["approvals"]:
                if approval["state"] == "waiting":
                    found: dict[str, Any] = approval
                    return found
            await asyncio.sleep(0.02)


async def decide(user: ToolUser, approval: dict[str, Any], decision: str) -> httpx2.Response:
    body = {"decision": decision, "version": approval["version"]}
    return await user.browser.post(f"/api/approvals/{approval['id']}/decision", json=body)


async def until_nobody_waits(app: FastAPI) -> None:
    """Until the server has noticed that the agent's request is gone."""
    async with asyncio.timeout(5):
        for _ in range(500):
            if not app.state.approvals._holders:
                return
            await asyncio.sleep(0.01)


async def test_a_call_waits_for_its_person_and_runs_once(ada: ToolUser, real: RealServer) -> None:
    await ada.add("Notes", real.url)

    for path, name in (("/mcp", "notes__echo"), ("/mcp/notes", "echo")):
        calling = asyncio.create_task(ada.call(name, {"text": path}, path=path))
        shown = await waiting(ada)
        assert real.calls["echo"] == 0 if path == "/mcp" else 1
        assert (await decide(ada, shown, "once")).status_code == 200
        assert "isError" not in await calling or not (await calling)["isError"]

    assert real.calls["echo"] == 2


async def test_always_lets_the_next_call_through(ada: ToolUser, real: RealServer) -> None:
    await ada.add("Notes", real.url)
    calling = asyncio.create_task(ada.call("notes__echo", {"text": "1"}))
    await decide(ada, await waiting(ada), "always")
    await calling

    await ada.call("notes__echo", {"text": "2"})

    assert real.calls["echo"] == 2


async def test_a_denied_call_does_not_reach_the_server(ada: ToolUser, real: RealServer) -> None:
    await ada.add("Notes", real.url)
    calling = asyncio.create_task(ada.call("notes__echo"))
    await decide(ada, await waiting(ada), "no")

    result = await calling

    assert result["isError"]
    assert "said no" in text_of(result)
    assert real.calls["echo"] == 0


async def test_an_agent_that_hung_up_gets_the_result_in_its_conversation(
    app: FastAPI, ada: ToolUser, real: RealServer, agent_server: FakeAgentServer
) -> None:
    await ada.add("Notes", real.url)
    calling = asyncio.create_task(ada.call("notes__echo", {"text": "hello"}))
    shown = await waiting(ada)
    calling.cancel()
    await asyncio.gather(calling, return_exceptions=True)
    await until_nobody_waits(app)
    agent_server.move(ada.id, "paused")
    gateway = agent_server.gateways[ada.id]

    await decide(ada, shown, "once")
    async with asyncio.timeout(10):
        while not gateway.rows:
            await gateway.requests.get()

    assert real.calls["echo"] == 1
    assert f"number {shown['number']}" in gateway.rows[0]["content"]


async def test_a_result_reaches_the_conversation_that_waits_for_it(
    app: FastAPI, ada: ToolUser, real: RealServer, agent_server: FakeAgentServer
) -> None:
    """OpenClaw's call does not name its conversation, but what it was answered is in there."""
    await ada.add("Notes", real.url)
    calling = asyncio.create_task(ada.call("notes__echo", {"text": "hello"}))
    shown = await waiting(ada)
    calling.cancel()
    await asyncio.gather(calling, return_exceptions=True)
    await until_nobody_waits(app)
    gateway = agent_server.gateways[ada.id]
    keys = [f"agent:main:ocmt-{n * 8}-1111-4111-8111-111111111111" for n in "123"]
    for key in keys:
        await gateway.change(key)
    said = {"type": "text", "text": f"This call {mark_of(shown['number'])}"}
    gateway.transcripts[keys[1]].append({"role": "toolResult", "content": [said]})

    await decide(ada, shown, "once")
    async with asyncio.timeout(10):
        while len(gateway.transcripts[keys[1]]) < 2:
            await gateway.requests.get()

    assert f"number {shown['number']}" in gateway.transcripts[keys[1]][1]["content"]
    assert gateway.rows == []


@pytest.mark.parametrize(
    ("path", "name", "how"),
    [
        ("/mcp", "notes__echo", "says so"),
        ("/mcp/notes", "echo", "says so"),
        ("/mcp/notes", "echo", "hangs up"),
    ],
)
async def test_a_request_that_the_agent_gives_up_is_not_answered_instead_of_the_conversation(
    app: FastAPI,
    ada: ToolUser,
    real: RealServer,
    agent_server: FakeAgentServer,
    path: str,
    name: str,
    how: str,
) -> None:
    await ada.add("Notes", real.url)
    calling = asyncio.create_task(ada.call(name, {"text": "hello"}, path=path))
    shown = await waiting(ada)
    # Of another request, of another user and of nothing: these end no wait.
    for params in ({"requestId": 8}, {"requestId": "7"}, {}, None):
        await notify(ada, path, params)
    assert not calling.done()

    if how == "says so":
        await notify(ada, path, {"requestId": 7, "reason": "aborted"})
        await calling
    else:
        calling.cancel()
        await asyncio.gather(calling, return_exceptions=True)
    await until_nobody_waits(app)
    assert not app.state.approvals._holders
    gateway = agent_server.gateways[ada.id]
    await decide(ada, shown, "once")
    async with asyncio.timeout(10):
        while not gateway.rows:
            await gateway.requests.get()

    assert real.calls["echo"] == 1
    assert f"number {shown['number']}" in gateway.rows[0]["content"]


async def notify(user: ToolUser, path: str, params: dict[str, Any] | None) -> None:
    message = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}
    await user.agent.post(path, json=message, headers=HEADERS)


async def test_the_built_in_tools_are_listed_and_served(ada: ToolUser, real: RealServer) -> None:
    await ada.add("Notes", real.url)

    listed = (await ada.rpc("tools/list"))["result"]["tools"]
    assert [one["name"] for one in listed if one["name"].startswith("ocmt_")] == [
        "ocmt_list_tool_servers",
        "ocmt_link_for_person",
        "ocmt_decision_result",
        "ocmt_list_connections",
        "ocmt_api",
    ]
    assert "Notes: connected, 2 tools." in text_of(await ada.call("ocmt_list_tool_servers"))
    assert (await ada.call("ocmt_decision_result", {"number": 1}))["isError"]
