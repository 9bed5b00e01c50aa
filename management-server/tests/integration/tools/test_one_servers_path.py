"""`/mcp/{slug}`: one server as it is."""

import asyncio
from typing import Any

import httpx2
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from ocmt_testing.management.mcp_servers import RealServer, RoughServer, events, text_result
from ocmt_testing.management.serving import Server
from ocmt_testing.management.tool_user import HEADERS, ToolUser, text_of


async def test_the_official_client_works_as_without_it(
    ada: ToolUser, real: RealServer, served: Server
) -> None:
    server = await ada.add("notes", real.url)
    await ada.allow(server)
    async with (
        httpx2.AsyncClient(
            headers={"authorization": f"Bearer {ada.token}"}, trust_env=False
        ) as http,
        streamable_http_client(f"{served.url}/mcp/notes", http_client=http) as (read, write, *_),
        ClientSession(read, write) as session,
    ):
        started = await session.initialize()
        listed = await session.list_tools()
        called = await session.call_tool("echo", {"text": "hi"})
        prompt = await session.get_prompt("greet")

    assert started.server_info.name == "real"
    assert [one.name for one in listed.tools] == ["echo", "read_note"]
    assert not called.is_error
    assert "Hello." in str(prompt)
    assert not any("authorization" in seen.headers for seen in real.seen)


async def test_a_batch_cannot_get_around_the_rules(ada: ToolUser, real: RealServer) -> None:
    server = await ada.add("notes", real.url)
    await ada.rule(server, "deny", "echo")
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo"}}

    batch = await ada.agent.post("/mcp/notes", json=[call], headers=HEADERS)
    twice = (
        b'{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call","params":{"name":"echo"}}'
    )
    named_twice = (
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call",'
        b'"params":{"name":"read_note","name":"echo"}}'
    )
    hidden = await ada.agent.post("/mcp/notes", content=twice, headers=HEADERS)
    renamed = await ada.agent.post("/mcp/notes", content=named_twice, headers=HEADERS)

    assert batch.status_code == 400
    without_id = await ada.agent.post(
        "/mcp/notes", json={k: v for k, v in call.items() if k != "id"}, headers=HEADERS
    )
    by_header = await ada.modern(
        "tools/call", {"name": "read_note"}, path="/mcp/notes", headers={"mcp-name": "echo"}
    )
    by_method = await ada.modern(
        "prompts/list", path="/mcp/notes", headers={"mcp-method": "tools/call"}
    )

    assert (without_id.status_code, without_id.json()["error"]["code"]) == (400, -32600)
    for answer in (by_header, by_method):
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, -32020)
    for answer in (hidden, renamed):
        assert answer.json()["result"]["isError"] is True
    assert real.calls == {}


async def test_a_call_reaches_the_server_as_it_was_checked(
    ada: ToolUser, rough: RoughServer
) -> None:
    """Parsers differ about duplicates: the server gets what the rules were applied to."""
    server = await ada.add("rough", rough.url)
    await ada.allow(server)
    first_wins = (
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call",'
        b'"params":{"name":"other","arguments":{},"name":"echo"}}'
    )

    answer = await ada.agent.post("/mcp/rough", content=first_wins, headers=HEADERS)

    assert answer.json()["result"] == text_result("echo")
    assert rough.bodies[-1].count(b'"name"') == 1


async def test_events_are_passed_on_with_their_ids_as_they_come(
    ada: ToolUser, rough: RoughServer
) -> None:
    server = await ada.add("rough", rough.url)
    await ada.allow(server)
    go_on = asyncio.Event()

    def in_pieces(_: Any, message: dict[str, Any]) -> Any:
        asks = {"jsonrpc": "2.0", "id": 5, "method": "sampling/createMessage", "params": {}}
        answer = {"jsonrpc": "2.0", "id": message["id"], "result": text_result("done")}
        return events(asks, go_on, answer, ids=True)

    rough.on_call = in_pieces
    message = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "echo"}}
    async with ada.agent.stream("POST", "/mcp/rough", json=message, headers=HEADERS) as answer:
        lines = answer.aiter_lines()
        first = [await anext(lines) for _ in range(3)]
        replied = await ada.agent.post(
            "/mcp/rough", json={"jsonrpc": "2.0", "id": 5, "result": {}}, headers=HEADERS
        )
        go_on.set()
        rest = [line async for line in lines]

    assert "id: 0" in first
    assert "sampling/createMessage" in "".join(first)
    assert replied.status_code == 202
    assert rough.seen[-1].message == {"jsonrpc": "2.0", "id": 5, "result": {}}
    assert "done" in "".join(rest)


async def test_streams_of_the_server_are_passed_on_and_end_with_the_agent(
    ada: ToolUser, rough: RoughServer
) -> None:
    await ada.add("rough", rough.url)
    begun, ended = asyncio.Event(), asyncio.Event()

    def stream(request: Any, _: Any) -> Any:
        if request.method != "GET":
            return None
        changed = {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}
        return events(changed, asyncio.Event(), started=begun, ended=ended)

    rough.on_any = stream
    async with ada.agent.stream("GET", "/mcp/rough", headers=HEADERS) as answer:
        lines = answer.aiter_lines()
        assert "list_changed" in await anext(lines) + await anext(lines)
    async with asyncio.timeout(10):
        await ended.wait()


async def test_trouble_with_anything_but_a_call_is_an_error_with_the_cure(
    ada: ToolUser,
) -> None:
    async with RoughServer().running() as rough:
        await ada.add("rough", rough.url)

    answer = await ada.rpc("prompts/list", path="/mcp/rough")
    stream = await ada.agent.get("/mcp/rough", headers=HEADERS)
    note = await ada.agent.post(
        "/mcp/rough", json={"jsonrpc": "2.0", "method": "notifications/x"}, headers=HEADERS
    )

    assert "cannot be reached now" in answer["error"]["message"]
    for refused in (stream, note):
        assert (refused.status_code, refused.json()["code"]) == (502, "server-trouble")


async def test_a_tool_that_was_never_listed_is_not_called(ada: ToolUser, real: RealServer) -> None:
    server = await ada.add("notes", real.url)
    await ada.allow(server)

    answer = await ada.call("secret_tool", path="/mcp/notes")

    assert answer["isError"] is True
    assert "has listed no tool secret_tool" in text_of(answer)
    assert real.calls == {}
