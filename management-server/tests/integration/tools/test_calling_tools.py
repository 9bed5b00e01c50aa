"""An agent's tools through `/mcp`, against real MCP servers."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from ocmt_management.audit.models import AuditEvent
from ocmt_testing.management.agent_server import FakeAgentServer
from ocmt_testing.management.mcp_servers import (
    RealServer,
    RoughServer,
    events,
    result,
    text_result,
    tool,
)
from ocmt_testing.management.people import until
from ocmt_testing.management.serving import Server
from ocmt_testing.management.tool_user import HEADERS, ToolUser, text_of
from sqlalchemy import select
from starlette.requests import Request
from starlette.responses import Response

KEY = "key-of-ada-0123456789"
BOBS_KEY = "key-of-bob-0123456789"


@pytest.fixture(autouse=True)
def keys_are_secret(seen_secrets: set[str]) -> None:
    seen_secrets.update({KEY, BOBS_KEY})


@pytest.mark.both_databases
async def test_an_added_servers_tools_are_listed_and_called(
    ada: ToolUser, real: RealServer
) -> None:
    server = await ada.add("My Notes", real.url)
    await ada.allow(server)

    assert server["trouble"] is None
    assert await ada.listed() == ["my-notes__echo", "my-notes__read_note"]
    answer = await ada.call("my-notes__echo", {"text": "hello"})
    assert json.loads(text_of(answer)) == ["echo", {"text": "hello"}, ""]


@pytest.mark.parametrize("json_response", [True, False], ids=["json", "events"])
@pytest.mark.parametrize("stateless", [True, False], ids=["stateless", "sessions"])
async def test_servers_of_all_kinds_are_spoken_to(
    ada: ToolUser, json_response: bool, stateless: bool
) -> None:
    async with RealServer(json_response=json_response, stateless=stateless).running() as real:
        server = await ada.add("notes", real.url)
        await ada.allow(server)

        results = [await ada.call("notes__echo") for _ in range(3)]

    assert [json.loads(text_of(one))[0] for one in results] == ["echo"] * 3
    opened = {seen.answer_headers.get("mcp-session-id") for seen in real.seen} - {None}
    assert len(opened) == (0 if stateless else 1), "one session is kept"


def answers_the_handshake(_: Request, message: dict[str, Any]) -> Response | None:
    """With its own revision, which has no handshake."""
    if message.get("method") != "initialize":
        return None
    return result(message, {"protocolVersion": "2026-07-28", "capabilities": {}})


@pytest.mark.parametrize("on_any", [None, answers_the_handshake])
async def test_a_server_of_the_new_revision_alone_is_spoken_to(
    ada: ToolUser, rough: RoughServer, on_any: Any
) -> None:
    rough.on_any = on_any
    schema = {
        "type": "object",
        "properties": {"where": {"type": "string", "x-mcp-header": "Where"}},
    }
    rough.tools = [tool("look", inputSchema=schema)]
    rough.modern_only = True
    server = await ada.add("new", rough.url)
    await ada.allow(server)

    answer = await ada.call("new__look", {"where": "Zürich"})

    assert text_of(answer) == "look"
    headers = rough.seen[-1].headers
    assert headers["mcp-protocol-version"] == "2026-07-28"
    assert headers["mcp-method"] == "tools/call"
    assert headers["mcp-name"] == "look"
    assert headers["mcp-param-where"] == "=?base64?WsO8cmljaA==?="
    assert "mcp-session-id" not in headers


async def test_each_persons_own_credential_is_joined(
    ada: ToolUser, bob: ToolUser, real: RealServer
) -> None:
    real.accepted = lambda credential: credential in (f"Bearer {KEY}", f"Bearer {BOBS_KEY}")
    added = await ada.browser.post(
        "/api/admin/tools/servers",
        json={"name": "Team", "url": real.url, "credentialName": "Authorization"},
    )
    server = added.json()
    for person, key in ((ada, KEY), (bob, BOBS_KEY)):
        connected = await person.browser.put(
            f"/api/tools/servers/{server['id']}/connection", json={"credential": key}
        )
        assert connected.json()["credentialState"] == "ok", connected.text
        assert connected.json()["trouble"] is None
        await person.allow(server)

    mine, bobs = await ada.call("team__echo"), await bob.call("team__echo")

    assert json.loads(text_of(mine))[2] == f"Bearer {KEY}"
    assert json.loads(text_of(bobs))[2] == f"Bearer {BOBS_KEY}"
    sent = [seen.headers for seen in real.seen]
    assert not any(person.token in str(sent) for person in (ada, bob))
    sessions = {(h["authorization"], h["mcp-session-id"]) for h in sent if "mcp-session-id" in h}
    assert len({session for _, session in sessions}) == 2, "no session is shared"
    assert len(sessions) == 2


async def test_a_new_credential_works_at_once_in_a_new_session(
    ada: ToolUser, real: RealServer
) -> None:
    server = await ada.add("notes", real.url, credentialName="X-Api-Key", credential=KEY)
    await ada.allow(server)
    await ada.call("notes__echo")
    changed = await ada.browser.put(
        f"/api/tools/servers/{server['id']}/connection", json={"credential": BOBS_KEY}
    )
    assert changed.status_code == 200

    await ada.call("notes__echo")

    assert real.credentials == [KEY, BOBS_KEY]
    first, second = (s.headers["mcp-session-id"] for s in real.seen if s.is_call)
    assert first != second


async def test_the_official_client_uses_the_aggregate(
    ada: ToolUser, real: RealServer, served: Server
) -> None:
    server = await ada.add("notes", real.url)
    await ada.allow(server)
    async with (
        httpx2.AsyncClient(
            headers={"authorization": f"Bearer {ada.token}"}, trust_env=False
        ) as http,
        streamable_http_client(f"{served.url}/mcp", http_client=http) as (read, write, *_),
        ClientSession(read, write) as session,
    ):
        started = await session.initialize()
        listed = await session.list_tools()
        called = await session.call_tool("notes__echo", {"text": "hi"})
        resources = await session.list_resources()
        read_resource = await session.read_resource("note://one")
        prompts = await session.list_prompts()
        prompt = await session.get_prompt("notes__greet")

    assert started.server_info.name == "ocmt"
    assert [one.name for one in listed.tools][:2] == ["notes__echo", "notes__read_note"]
    assert not called.is_error
    assert [one.name for one in resources.resources] == ["one"]
    assert "the note" in str(read_resource)
    assert [one.name for one in prompts.prompts] == ["notes__greet"]
    assert "Hello." in str(prompt)


async def test_the_revision_of_2026_is_served(ada: ToolUser, real: RealServer) -> None:
    server = await ada.add("notes", real.url)
    await ada.allow(server)

    discovered = await ada.modern("server/discover")
    listed = await ada.modern("tools/list")
    called = await ada.modern("tools/call", {"name": "notes__echo", "arguments": {}})
    unknown = await ada.modern("initialize")
    lying = await ada.modern("tools/list", headers={"mcp-method": "tools/call"})
    other = await ada.modern("tools/list", version="2099-01-01")

    assert "2026-07-28" in discovered.json()["result"]["supportedVersions"]
    found = listed.json()["result"]
    assert [one["name"] for one in found["tools"]][:2] == ["notes__echo", "notes__read_note"]
    assert (found["resultType"], found["cacheScope"]) == ("complete", "private")
    assert called.status_code == 200, called.text
    assert "result" in called.json(), called.text
    assert called.json()["result"]["resultType"] == "complete"
    assert unknown.status_code == 404
    assert (lying.status_code, lying.json()["error"]["code"]) == (400, -32020)
    assert (other.status_code, other.json()["error"]["code"]) == (400, -32022)


async def test_progress_is_passed_on_before_the_result(ada: ToolUser, rough: RoughServer) -> None:
    server = await ada.add("slow", rough.url)
    await ada.allow(server)
    go_on = asyncio.Event()

    def in_pieces(_: Any, message: dict[str, Any]) -> Any:
        token = message["params"]["_meta"]["progressToken"]
        progress = {"progressToken": token, "progress": 1}
        return events(
            {"jsonrpc": "2.0", "method": "notifications/progress", "params": progress},
            go_on,
            {"jsonrpc": "2.0", "id": 99, "method": "sampling/createMessage", "params": {}},
            {"jsonrpc": "2.0", "id": message["id"], "result": text_result("done")},
        )

    rough.on_call = in_pieces
    params = {"name": "slow__echo", "arguments": {}, "_meta": {"progressToken": "p1"}}
    message = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}
    async with ada.agent.stream("POST", "/mcp", json=message, headers=HEADERS) as answer:
        lines = answer.aiter_lines()
        first = [await anext(lines), await anext(lines)]
        go_on.set()
        rest = [line async for line in lines if line.startswith("data:")]

    assert '"progressToken":"p1"' in first[1].replace(" ", "")
    assert len(rest) == 1
    assert json.loads(rest[0][5:])["result"] == text_result("done")
    refused = next(s.message for s in rough.seen if s.message.get("id") == 99)
    assert refused["error"]["code"] == -32601, "nobody is asked for sampling, and it is told so"


async def test_a_lost_session_is_begun_again_without_a_second_call(
    ada: ToolUser, rough: RoughServer
) -> None:
    rough.session_id = "first"
    server = await ada.add("notes", rough.url)
    await ada.allow(server)
    rough.session_id = "second"

    def forgets(request: Any, message: dict[str, Any]) -> Any:
        known = request.headers.get("mcp-session-id") != "first"
        return None if known or "id" not in message else Response(status_code=404)

    rough.on_any = forgets
    answer = await ada.call("notes__echo")

    assert text_of(answer) == "echo"
    assert [s.headers.get("mcp-session-id") for s in rough.seen if s.is_call] == [
        "first",
        "second",
    ]


async def test_the_agent_is_made_to_list_again_only_when_its_list_changed(
    app: FastAPI, ada: ToolUser, real: RealServer, agent_server: FakeAgentServer
) -> None:
    agent_server.tools_version_refusals.append((503, "runtime-failed", "Not now."))
    server = await ada.add("notes", real.url)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ocmt_management.tools.version_sender._RETRY_S", 0.01)
        await until(lambda: len(agent_server.tools_versions) == 1)

        await ada.allow(server)
        await ada.rule(server, "deny", "echo")
        await until(lambda: len(agent_server.tools_versions) == 2)

    assert [user_id for user_id, _ in agent_server.tools_versions] == [ada.id, ada.id]
    first, second = (version for _, version in agent_server.tools_versions)
    assert second > first
    assert await ada.listed() == ["notes__read_note"]


async def test_a_change_is_answered_when_the_next_message_has_it(
    ada: ToolUser, real: RealServer, agent_server: FakeAgentServer
) -> None:
    """The agent server holds messages from then on until the gateway has read the version."""

    async def sent_before_the_answer(change: Awaitable[object]) -> int:
        held = agent_server.tools_version_held = asyncio.Event()
        before = len(agent_server.tools_versions)
        changing = asyncio.ensure_future(change)
        await asyncio.wait({changing}, timeout=0.5)
        answered = changing.done()
        held.set()
        await changing
        assert not answered
        return len(agent_server.tools_versions) - before

    async def add() -> None:
        server.update(await ada.add("notes", real.url))

    server: dict[str, Any] = {}
    assert await sent_before_the_answer(add()) == 1
    assert await sent_before_the_answer(ada.rule(server, "deny", "echo")) == 1
    path = f"/api/tools/servers/{server['id']}"
    assert await sent_before_the_answer(ada.browser.delete(path)) == 1


async def test_a_change_is_answered_although_the_agent_server_hangs(
    ada: ToolUser, real: RealServer, agent_server: FakeAgentServer
) -> None:
    agent_server.tools_version_held = held = asyncio.Event()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ocmt_management.tools.version_sender._AWAITED_S", 0.05)
        await ada.add("notes", real.url)
        assert agent_server.tools_versions == []
    held.set()
    await until(lambda: len(agent_server.tools_versions) == 1)


async def test_old_lists_are_read_again_in_the_background(
    ada: ToolUser, real: RealServer, advance: Callable[[timedelta], None], app: FastAPI
) -> None:
    server = await ada.add("notes", real.url)
    real.tools.append(tool("search"))
    assert "notes__search" not in await ada.listed()
    advance(timedelta(minutes=6))

    await ada.listed()
    await app.state.tools.idle()

    states = {one["name"]: one["state"] for one in (await ada.view(server))["tools"]}
    assert states == {"echo": "ok", "read_note": "ok", "search": "new"}
    assert "notes__search" in await ada.listed()


async def test_last_uses_have_shapes_and_no_values(
    app: FastAPI, ada: ToolUser, real: RealServer, seen_secrets: set[str]
) -> None:
    seen_secrets.add("my private words")
    server = await ada.add("notes", real.url)
    await ada.allow(server)
    await ada.call("notes__echo", {"text": "my private words", "secretname": 1})
    await ada.call("notes__nothing")
    await app.state.tools.written()

    answer = await ada.browser.get("/api/tools/uses")

    (use,) = answer.json()["uses"]
    assert (use["server"], use["tool"], use["outcome"]) == ("notes", "echo", "ok")
    assert use["shape"] == "text: text 18, 1 more"
    assert "private" not in answer.text
    metrics = await ada.agent.get("/metrics")
    forwarded = await ada.agent.get("/metrics", headers={"x-forwarded-for": "127.0.0.1"})
    assert forwarded.status_code == 404
    assert 'ocmt_tool_calls_total{outcome="ok"} 1.0' in metrics.text


async def test_uses_that_could_not_be_written_are_written_later(
    app: FastAPI, ada: ToolUser, real: RealServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the audit of the credential's use."""
    server = await ada.add("notes", real.url, credentialName="Authorization", credential=KEY)
    await ada.allow(server)
    await ada.call("notes__echo")
    with monkeypatch.context() as patched:
        patched.setattr(app.state.tools._recorder._database, "write", None)
        with pytest.raises(TypeError):
            await app.state.tools.written()
    await app.state.tools.written()

    assert len((await ada.browser.get("/api/tools/uses")).json()["uses"]) == 1
    async with app.state.database.read() as session:
        read = select(AuditEvent.detail).where(AuditEvent.action == "secret.read")
        assert "1 tool calls" in set(await session.scalars(read))


async def test_the_list_is_kept_over_a_restart_of_nothing_but_the_server(
    ada: ToolUser, real: RealServer, app: FastAPI
) -> None:
    await ada.add("notes", real.url)
    app.state.tools.snapshots.forget(ada.id)
    before = len(real.seen)

    assert await ada.listed() == ["notes__echo", "notes__read_note"]
    assert len(real.seen) == before, "listing starts nothing"


def message(method: str, params: str = "{}") -> bytes:
    return f'{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}'.encode()


BAD_MESSAGES = [
    (b"", -32700),
    (b"not json", -32700),
    (b"[]", -32700),
    (b"[" + message("ping") + b"]", -32700),
    (b'{"id":1,"method":"ping"}', -32700),
    (message("ping", "[" * 9000 + "]" * 9000), -32700),
    (b'{"jsonrpc":"2.0","id":1,"method":"tools/call"}', -32602),
    (message("tools/call", '{"name":5}'), -32602),
    (message("tools/call", '{"name":"a","arguments":[]}'), -32602),
    (message("tools/call", "[]"), -32602),
    (message("tools/list", '{"cursor":"x"}'), -32602),
    (message("resources/read", '{"uri":[]}'), -32602),
    (message("resources/read", '{"uri":"no://x"}'), -32002),
    (message("prompts/get", '{"name":"nope"}'), -32602),
    (message("completion/complete", '{"ref":7}'), -32602),
    (message("no/such"), -32601),
]


async def test_bad_messages_get_an_error_that_says_why(ada: ToolUser) -> None:
    for body, code in BAD_MESSAGES:
        answer = await ada.agent.post("/mcp", content=body, headers=HEADERS)

        assert answer.status_code in (200, 400), body[:100]
        error = answer.json()["error"]
        assert error["code"] == code, body[:100]
        assert error["message"]


async def test_streams_and_sessions_are_refused_at_the_aggregate(ada: ToolUser) -> None:
    assert (await ada.agent.get("/mcp", headers=HEADERS)).status_code == 405
    assert (await ada.agent.delete("/mcp", headers=HEADERS)).status_code == 405
    huge = await ada.agent.post("/mcp", content=b"x" * (4 * 1024 * 1024 + 1), headers=HEADERS)
    assert huge.status_code == 413
    stranger = await ada.agent.post(
        "/mcp", json={}, headers={**HEADERS, "origin": "https://evil.example"}
    )
    assert stranger.status_code == 403


async def test_a_tool_that_is_not_there_is_a_result(ada: ToolUser) -> None:
    answer = await ada.call("made_up__tool")

    assert answer["isError"] is True
    assert "no tool made_up__tool" in text_of(answer)


async def test_calls_beyond_eight_at_once_wait_for_their_turn(
    app: FastAPI, ada: ToolUser, stateless: RealServer
) -> None:
    server = await ada.add("notes", stateless.url)
    await ada.allow(server)
    for path, name in (("/mcp", "notes__echo"), ("/mcp/notes", "echo")):
        stateless.held, before = asyncio.Event(), stateless.calls["echo"]
        held = [asyncio.create_task(ada.call(name, path=path)) for _ in range(14)]
        await until(lambda: app.state.tools.limits.under_way() == 14)
        await until(lambda before=before: stateless.calls["echo"] - before == 8)  # type: ignore[misc]
        stateless.held.set()
        results = await asyncio.gather(*held)

        assert not any(one.get("isError") for one in results)
        assert stateless.calls["echo"] - before == 14


async def test_a_call_that_waited_is_made_with_what_holds_then(
    app: FastAPI, ada: ToolUser, bob: ToolUser, stateless: RealServer
) -> None:
    """A new credential is used; a rule that denies, and a suspension, hold."""
    server = await bob.add(
        "notes", stateless.url, credentialName="X-Api-Key", credential="the-old-one"
    )
    await bob.allow(server)
    connection, page = f"/api/tools/servers/{server['id']}/connection", f"/api/admin/users/{bob.id}"

    async def new_key() -> None:
        await bob.browser.put(connection, json={"credential": "the-new-one"})

    async def suspended() -> None:
        await ada.browser.patch(page, json={"status": "suspended"})

    for change, path, name, sent in (
        (new_key, "/mcp", "notes__echo", True),
        (lambda: bob.rule(server, "deny", "read_note"), "/mcp", "notes__read_note", False),
        (lambda: bob.rule(server, "deny", "echo"), "/mcp/notes", "echo", False),
        (suspended, "/mcp", "notes__echo", False),
    ):
        stateless.held = asyncio.Event()
        tool = name.rpartition("__")[2]
        await bob.rule(server, "allow", tool)
        before = stateless.calls[tool]
        running = [asyncio.create_task(bob.call(name, path=path)) for _ in range(8)]
        await until(lambda tool=tool, before=before: stateless.calls[tool] == before + 8)  # type: ignore[misc]
        waiting = asyncio.create_task(bob.call(name, path=path))
        await until(lambda: app.state.tools.limits.under_way() == 9)
        await change()
        stateless.held.set()
        await asyncio.gather(*running)
        answer = await waiting

        assert stateless.calls[tool] == before + 8 + sent
        assert bool(answer.get("isError")) is not sent
        assert ("the-new-one" if sent else "is not what it was") in text_of(answer)
