"""Servers that are down, slow, broken or hostile: each costs its own calls only."""

import asyncio
import re
import socket
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from ocmt_management.tools import breaker
from ocmt_testing.management.mcp_servers import (
    RealServer,
    RoughServer,
    endless,
    events,
    redirect,
    result,
    rpc_error,
    text_result,
    tool,
)
from ocmt_testing.management.people import until
from ocmt_testing.management.tool_user import ToolUser, text_of
from starlette.responses import PlainTextResponse, Response

KEY = "key-of-ada-0123456789"


@pytest.fixture(autouse=True)
def keys_are_secret(seen_secrets: set[str]) -> None:
    seen_secrets.add(KEY)


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ocmt_management.tools.calls.CALL_TIMEOUT_S", 0.5)
    monkeypatch.setattr("ocmt_management.tools.passthrough.CALL_TIMEOUT_S", 0.5)


@pytest.fixture(autouse=True)
def patient_breaker(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "breaker" not in request.node.name:
        monkeypatch.setattr(breaker, "FAILURES", 1000)


async def forever(*_: Any) -> Response:
    await asyncio.sleep(3600)
    return Response()


def raw(text: str | bytes, **options: Any) -> Callable[[Any, dict[str, Any]], Response]:
    return lambda _, __: Response(text, media_type="application/json", **options)


def result_text(message: dict[str, Any], text: str) -> Response:
    body = f'{{"jsonrpc":"2.0","id":{message["id"]},"result":{text}}}'
    return Response(body, media_type="application/json")


CALLS: dict[str, tuple[Any, str]] = {
    "slow": (forever, "did not answer within"),
    "http 500": (raw("oops", status_code=500), "problem of its own now (HTTP 500)"),
    "http 503": (raw("", status_code=503), "problem of its own now (HTTP 503)"),
    "http 429": (raw("", status_code=429), "limits how often"),
    "http 404": (raw("no", status_code=404), "does not serve MCP"),
    "http 418": (raw("", status_code=418), "does not serve MCP"),
    "http 401": (raw("{}", status_code=401), "asks for a credential"),
    "html": (lambda *_: PlainTextResponse("<html>"), "cannot be used (not JSON-RPC)"),
    "empty": (raw(""), "cannot be used"),
    "a list": (raw("[]"), "cannot be used"),
    "other json": (raw('{"result":{}}'), "cannot be used"),
    "no result": (raw('{"jsonrpc":"2.0","id":1}'), "cannot be used"),
    "result is text": (lambda _, m: result(m, "text"), "cannot be used"),
    "no content": (lambda _, m: result(m, {}), "cannot be used"),
    "odd content": (lambda _, m: result(m, {"content": ["x"]}), "cannot be used"),
    "bad utf-8": (
        raw(b'{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"\xff"}]}}'),
        "cannot be used",
    ),
    "bad escape": (lambda _, m: result_text(m, r'{"content":[{"type":"\q"}]}'), "cannot be used"),
    "a constant": (lambda _, m: result_text(m, '{"content":[],"x":NaN}'), "cannot be used"),
    "deep": (
        lambda _, m: result_text(m, '{"content":[],"x":' + "[" * 400 + "]" * 400 + "}"),
        "nested too deeply",
    ),
    "very deep": (
        lambda _, m: result_text(m, '{"content":[],"x":' + "[" * 10**5 + "]" * 10**5 + "}"),
        "cannot be used",
    ),
    "many values": (
        lambda _, m: result_text(m, '{"content":[],"x":[' + "1," * 500_000 + "1]}"),
        "more values than",
    ),
    "100 MB": (
        lambda *_: endless(b'{"jsonrpc":"2.0","id":1,"result":{"x":"', b"x" * 2**20, 100),
        "more than 4 MiB",
    ),
    "100 MB in an event": (
        lambda *_: endless(b"data: ", b"x" * 2**20, 100, media_type="text/event-stream"),
        "more than",
    ),
    "compressed": (raw("{}", headers={"content-encoding": "gzip"}), "compressed"),
    "redirect": (lambda *_: redirect("https://example.com/mcp"), "does not follow"),
    "stream without an answer": (
        lambda *_: events({"jsonrpc": "2.0", "method": "notifications/message", "params": {}}),
        "broke in the middle",
    ),
    "its own error": (lambda _, m: rpc_error(m, -32602, "Bad\nargument"), "rough: Bad argument"),
    "asks back": (
        lambda _, m: result(m, {"resultType": "input_required", "inputRequests": {}}),
        "wants to ask its person",
    ),
}


async def test_each_trouble_is_a_result_that_says_what_to_do(
    app: FastAPI, ada: ToolUser, rough: RoughServer, real: RealServer
) -> None:
    server = await ada.add("rough", rough.url)
    other = await ada.add("other", real.url)
    await ada.allow(server)
    await ada.allow(other)
    for what, (answer, expected) in CALLS.items():
        rough.on_call = answer
        for path, name in (("/mcp", "rough__echo"), ("/mcp/rough", "echo")):
            if path != "/mcp" and what in ("its own error", "asks back"):
                continue  # one server's path passes these on as they are
            before = rough.calls
            app.state.tools.breaker._states.clear()
            got = await ada.call(name, path=path)

            assert got["isError"] is True, what
            assert expected in text_of(got), (what, path, got)
            assert rough.calls == before + 1, f"{what}: not repeated"

    assert not (await ada.call("other__echo")).get("isError")
    assert "rough__echo" in await ada.listed()
    rough.on_call = None
    assert text_of(await ada.call("rough__echo")) == "echo"
    await app.state.tools.idle()
    assert (await ada.view(server))["trouble"] is None


async def test_a_server_that_is_down_costs_nobody_the_list(ada: ToolUser, real: RealServer) -> None:
    async with RoughServer().running() as rough:
        server = await ada.add("rough", rough.url)
        await ada.allow(server)
    other = await ada.add("other", real.url)

    assert await ada.listed() == ["other__echo", "other__read_note", "rough__echo"]
    gone = await ada.call("rough__echo")
    refreshed = await ada.browser.post(f"/api/tools/servers/{server['id']}/refresh")

    assert gone["isError"] is True
    assert "cannot be reached now" in text_of(gone)
    assert "cannot be reached now" in refreshed.json()["trouble"]
    assert len(refreshed.json()["tools"]) == 1
    assert (await ada.view(other))["trouble"] is None


async def test_the_metrics_count_connections_in_trouble_by_its_kind(
    app: FastAPI, ada: ToolUser, rough: RoughServer, real: RealServer
) -> None:
    server = await ada.add("rough", rough.url)
    gone = await ada.add("gone", real.url)
    for one in (server, gone):
        await ada.allow(one)
    rough.on_call = raw("", status_code=500)
    real.accepted = lambda _: False

    async def counted() -> dict[str, int]:
        text = (await ada.agent.get("/metrics")).text
        found = re.findall(r'ocmt_tool_servers_in_trouble\{kind="([a-z-]+)"\} (\d+)', text)
        return {kind: int(number) for kind, number in found if number != "0"}

    assert await counted() == {}
    await ada.call("rough__echo")
    await ada.call("rough__echo")
    await ada.browser.post(f"/api/tools/servers/{gone['id']}/refresh")
    assert await counted() == {"failed": 1, "refused": 1}
    rough.on_call = None
    await ada.call("rough__echo")
    assert await counted() == {"refused": 1}
    await ada.browser.delete(f"/api/tools/servers/{gone['id']}")
    assert await counted() == {}
    await app.state.tools.idle()


LISTS: dict[str, tuple[Any, str, list[str]]] = {
    "html": (lambda *_: PlainTextResponse("<html>"), "not JSON-RPC", []),
    "no tools": (lambda _, m: result(m, {}), "its answer has no list `tools`", []),
    "tools are text": (
        lambda _, m: result(m, {"tools": "x"}),
        "its answer has no list `tools`",
        [],
    ),
    "huge": (
        lambda *_: endless(b'{"jsonrpc":"2.0","id":1,"result":{"x":"', b"x" * 2**20, 100),
        "more than 4 MiB",
        [],
    ),
    "names twice": (
        lambda _, m: result(m, {"tools": [tool("a"), tool("a", "Another."), tool("b")]}),
        "a: listed twice; the first is used",
        ["a", "b"],
    ),
    "some unusable": (
        lambda _, m: result(
            m,
            {"tools": [tool("a"), {}, 7, tool(""), tool("x" * 200), {"name": "n"}, tool("b\n")]},
        ),
        "lists what cannot be used",
        ["a"],
    ),
    "a deep schema": (
        lambda _, m: result(m, {"tools": [tool("a"), tool("b", inputSchema=deep(40))]}),
        "nested deeper than 32 levels",
        ["a"],
    ),
    "a large definition": (
        lambda _, m: result(m, {"tools": [tool("a"), tool("b", "x" * 70_000)]}),
        "over 65536 bytes",
        ["a"],
    ),
    "many tools": (
        lambda _, m: result(m, {"tools": [tool(f"t{n:04}") for n in range(600)]}),
        "more than 500 tools",
        [f"t{n:04}" for n in range(500)],
    ),
    "pages without end": (
        lambda _, m: result(m, {"tools": [tool("a")], "nextCursor": str(m["id"])}),
        "a: listed twice",
        ["a"],
    ),
    "no method": (lambda _, m: rpc_error(m, -32601, "Method not found"), "", []),
    "an error": (lambda _, m: rpc_error(m, -32000, "On fire"), "On fire", []),
    "odd names": (
        lambda _, m: result(
            m,
            {"tools": [tool("a/b.c"), tool("a_b_c"), tool("A_B_C"), tool("é"), tool("n" * 100)]},
        ),
        "",
        ["A_B_C", "a/b.c", "a_b_c", "n" * 100, "é"],
    ),
}


def deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"x": schema}}
    return schema


async def test_lists_are_bounded_and_what_is_usable_of_them_is_used(
    ada: ToolUser, rough: RoughServer
) -> None:
    for number, (what, (answer, expected, names)) in enumerate(LISTS.items()):
        rough.on_list = answer
        server = await ada.add(f"server {number}", rough.url)

        assert sorted(one["name"] for one in server["tools"]) == names, what
        assert expected in (server["trouble"] or ""), (what, server["trouble"])
        public = await ada.listed()
        assert len({one.lower() for one in public}) == len(public) == len(names), what
        assert all(len(one) <= 58 and one.isascii() for one in public), what
        deleted = await ada.browser.delete(f"/api/tools/servers/{server['id']}")
        assert deleted.status_code == 204


async def test_an_expired_credential_is_said_on_the_page_and_to_the_agent(
    app: FastAPI, ada: ToolUser, real: RealServer
) -> None:
    server = await ada.add("notes", real.url, credentialName="Authorization", credential=KEY)
    await ada.allow(server)
    real.accepted = lambda _: False

    refused = await ada.call("notes__echo")
    again = await ada.call("notes__echo")
    await app.state.tools.idle()

    assert "rejected the credential" in text_of(refused)
    assert "under Tools, notes" in text_of(again)
    view = await ada.view(server)
    assert view["credentialState"] == "refused"
    assert "rejected the credential" in view["trouble"]
    assert "notes__echo" in await ada.listed(), "tools do not vanish"
    real.accepted = lambda _: True
    await ada.browser.put(
        f"/api/tools/servers/{server['id']}/connection", json={"credential": KEY + "9"}
    )
    assert not (await ada.call("notes__echo")).get("isError")
    await ada.browser.delete(f"/api/tools/servers/{server['id']}/connection")
    missing = await ada.call("notes__echo")
    assert "needs a credential" in text_of(missing)
    assert (await ada.view(server))["credentialState"] == "missing"
    assert len(real.credentials) == 1


async def test_a_breaker_leaves_a_server_alone_and_tries_again(
    app: FastAPI, ada: ToolUser, rough: RoughServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(app.state.tools.breaker, "_now_s", lambda: now[0])
    server = await ada.add("rough", rough.url)
    await ada.allow(server)
    rough.on_call = raw("", status_code=500)
    for _ in range(3):
        await ada.call("rough__echo")

    paused = await ada.call("rough__echo")
    assert rough.calls == 3
    assert "not called for 30 s more" in text_of(paused)
    rough.on_call = None
    now[0] = 31.0
    assert not (await ada.call("rough__echo")).get("isError")
    assert rough.calls == 4


async def test_a_late_answer_of_a_call_that_was_given_up_reaches_no_other_call(
    ada: ToolUser, rough: RoughServer
) -> None:
    server = await ada.add("rough", rough.url)
    await ada.allow(server)
    late = asyncio.Event()

    async def answers_late(_: Any, message: dict[str, Any]) -> Response:
        if rough.calls == 1:
            await late.wait()
        return result(message, text_result(f"call {message['params']['arguments']['n']}"))

    rough.on_call = answers_late
    given_up = await ada.call("rough__echo", {"n": 1})
    second = asyncio.create_task(ada.call("rough__echo", {"n": 2}))
    late.set()

    assert "was given up" in text_of(given_up)
    assert text_of(await second) == "call 2"
    assert text_of(await ada.call("rough__echo", {"n": 3})) == "call 3"


async def test_an_agent_that_leaves_ends_its_call(ada: ToolUser, rough: RoughServer) -> None:
    server = await ada.add("rough", rough.url)
    await ada.allow(server)
    ended = asyncio.Event()

    async def held(request: Any, _: Any) -> Response:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        ended.set()
        return Response()

    rough.on_call = held
    call = asyncio.create_task(ada.call("rough__echo"))
    await until(lambda: rough.calls == 1)
    call.cancel()
    async with asyncio.timeout(0.4):
        await ended.wait()


async def test_credentials_do_not_follow_redirects(
    ada: ToolUser, rough: RoughServer, real: RealServer
) -> None:
    rough.on_any = lambda *_: redirect(real.url)
    server = await ada.add("moved", rough.url, credentialName="X-Api-Key", credential=KEY)

    assert "sends its callers on to another address" in server["trouble"]
    assert real.seen == []
    assert rough.seen[0].headers["x-api-key"] == KEY


async def test_a_name_is_checked_when_it_is_dialled(
    ada: ToolUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that resolves to this machine: also after it was added with another address."""
    asked: list[str] = []

    def resolve(host: str, port: int, **_: Any) -> Any:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    server = await ada.add("rebound", "https://mcp.example.com/mcp")

    assert asked == ["mcp.example.com"]
    assert "private network or of this server" in server["trouble"]
    assert "PRIVATE_HOSTS" in server["trouble"]
