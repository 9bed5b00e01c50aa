"""Nobody sees another's servers, sessions, tools or credentials; wrong tokens learn nothing."""

import asyncio
import json
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import httpx2
import pytest
from fastapi import FastAPI
from ocmt_management.tokens import new_token
from ocmt_testing.management.mcp_servers import RealServer, RoughServer, result, text_result
from ocmt_testing.management.people import agent_is
from ocmt_testing.management.serving import Server
from ocmt_testing.management.tool_user import HEADERS, ToolUser, text_of
from starlette.requests import Request
from starlette.responses import Response

KEY = "key-of-ada-0123456789"
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}


@pytest.fixture(autouse=True)
def keys_are_secret(seen_secrets: set[str]) -> None:
    seen_secrets.add(KEY)


async def test_wrong_replayed_and_revoked_tokens_all_get_the_same_401(
    app: FastAPI, ada: ToolUser, bob: ToolUser, served: Server, real: RealServer
) -> None:
    await ada.add("notes", real.url)
    assert (await ada.agent.post("/mcp", json=PING, headers=HEADERS)).status_code == 200
    old = ada.token
    session = dict(ada.browser.cookies)["ocmt_session"]
    renewed = await ada.browser.post(f"/api/admin/agents/{ada.id}/token")
    assert renewed.status_code == 202
    await agent_is(app, ada.id, "running")
    suspended = await ada.browser.patch(f"/api/admin/users/{bob.id}", json={"status": "suspended"})
    assert suspended.status_code == 200
    wrong = ["x", new_token(), old, bob.token, session, KEY, "é", "a" * 4000]

    answers = set()
    async with httpx2.AsyncClient(base_url=served.url, trust_env=False) as stranger:
        for token in wrong:
            for scheme in ("Bearer ", "Basic ") if token == old else ("Bearer ",):
                for method, path in (
                    ("POST", "/mcp"), ("GET", "/mcp"), ("POST", "/mcp/notes"),
                    ("GET", "/mcp/notes"), ("DELETE", "/mcp/notes"), ("POST", "/mcp/no-such"),
                ):  # fmt: skip
                    headers = [(b"authorization", (scheme + token).encode())]
                    answer = await stranger.request(method, path, json=PING, headers=headers)
                    answers.add((answer.status_code, answer.text))
        cookie = await stranger.post(
            "/mcp", json=PING, headers={"cookie": f"ocmt_session={session}"}
        )
        answers.add((cookie.status_code, cookie.text))

    ((status, text),) = answers
    assert status == 401
    assert json.loads(text)["code"] == "agent-token-wrong"


async def test_nothing_of_another_tenant_is_seen_or_used(
    ada: ToolUser, bob: ToolUser, real: RealServer
) -> None:
    server = await ada.add("private", real.url, credentialName="X-Api-Key", credential=KEY)
    await ada.allow(server)
    one = f"/api/tools/servers/{server['id']}"
    initialize = {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "t", "version": "1"},
    }
    begun = await ada.agent.post(
        "/mcp/private",
        json={"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": initialize},
        headers=HEADERS,
    )
    session = begun.headers["mcp-session-id"]
    seen = len(real.seen)

    on_the_page = {
        ("PATCH", one): {"name": "mine"},
        ("DELETE", one): None,
        ("PUT", f"{one}/connection"): {"credential": "bobs"},
        ("DELETE", f"{one}/connection"): None,
        ("POST", f"{one}/refresh"): None,
        ("PUT", f"{one}/rule"): {"rule": "allow"},
        ("GET", f"{one}/changes"): None,
        ("POST", f"{one}/changes"): {"tool": "echo", "pin": "0" * 64},
    }
    for (method, path), body in on_the_page.items():
        answer = await bob.browser.request(method, path, json=body)
        assert (answer.status_code, answer.json()["code"]) == (404, "server-unknown"), path
    for method, path in (("GET", ""), ("POST", "/servers"), ("PATCH", f"/servers/{server['id']}")):
        answer = await bob.browser.request(method, f"/api/admin/tools{path}", json={"name": "x"})
        assert (answer.status_code, answer.json()["code"]) == (403, "not-admin")
    as_shared = await ada.browser.patch(
        f"/api/admin/tools/servers/{server['id']}", json={"enabled": False}
    )
    assert as_shared.status_code == 404, "not even by an admin"
    shown = await bob.browser.get("/api/tools")
    uses = await bob.browser.get("/api/tools/uses")
    assert shown.json() == {"servers": []}
    assert uses.json() == {"uses": []}

    assert await bob.listed() == []
    for method, member in (
        ("resources/list", "resources"),
        ("resources/templates/list", "resourceTemplates"),
        ("prompts/list", "prompts"),
    ):
        assert (await bob.rpc(method))["result"][member] == []
    for method, params in (
        ("resources/read", {"uri": "note://one"}),
        ("prompts/get", {"name": "private__greet"}),
        ("completion/complete", {"ref": {"type": "ref/prompt", "name": "private__greet"}}),
    ):
        assert "error" in await bob.rpc(method, params)
    assert (await bob.call("private__echo"))["isError"] is True
    for method in ("GET", "POST", "DELETE"):
        answer = await bob.agent.request(
            method, "/mcp/private", json=PING, headers={**HEADERS, "mcp-session-id": session}
        )
        assert answer.status_code == 404
    assert len(real.seen) == seen, "nothing reached ada's server"


async def test_a_session_is_good_for_its_user_server_and_credential_only(
    ada: ToolUser, bob: ToolUser, real: RealServer
) -> None:
    servers = {}
    for person in (ada, bob):
        servers[person.id] = await person.add(
            "same", real.url, credentialName="X-Api-Key", credential=KEY
        )
        await person.add("other", real.url)
    initialize = {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "t", "version": "1"},
    }
    begin = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": initialize}
    begun = await ada.agent.post("/mcp/same", json=begin, headers=HEADERS)
    session = begun.headers["mcp-session-id"]
    own = real.seen[-1].answer_headers["mcp-session-id"]

    async def use(person: ToolUser, path: str, session_id: str) -> int:
        headers = {**HEADERS, "mcp-session-id": session_id}
        return (await person.agent.post(path, json=PING, headers=headers)).status_code

    assert await use(ada, "/mcp/same", session) == 200
    assert await use(bob, "/mcp/same", session) == 404
    assert await use(ada, "/mcp/other", session) == 404
    for made_up in (own, "x", ".", "a.b", "=.=", session[:-2] + "AA", session + ".x"):
        assert await use(ada, "/mcp/same", made_up) == 404, made_up
    changed = await ada.browser.put(
        f"/api/tools/servers/{servers[ada.id]['id']}/connection", json={"credential": KEY + "1"}
    )
    assert changed.status_code == 200
    assert await use(ada, "/mcp/same", session) == 404


async def mixed_load(
    tool_user: Callable[[str], Awaitable[ToolUser]],
    rough: RoughServer,
    seen_secrets: set[str],
    calls: int,
) -> None:
    """Two users with the same server and different credentials: none gets the other's."""
    received: Counter[str] = Counter()
    """What reached the server: each call's number with the credential that came with it."""

    def echo(request: Request, message: dict[str, Any]) -> Response:
        rough.seen.clear()
        rough.bodies.clear()
        text, key = message["params"]["arguments"]["text"], request.headers["x-api-key"]
        received[f"{text} {key}"] += 1
        return result(message, text_result(f"{text} {key}"))

    people = [await tool_user("bob"), await tool_user("carol")]
    keys = {}
    for person in people:
        keys[person.id] = f"key-of-{person.id}"
        seen_secrets.add(keys[person.id])
        server = await person.add(
            "same", rough.url, credentialName="X-Api-Key", credential=keys[person.id]
        )
        await person.allow(server)
    rough.on_call = echo
    sent: Counter[str] = Counter()
    foreign: Counter[str] = Counter()
    """Answers with another call's number or another person's credential."""
    failed: Counter[str] = Counter()
    left = iter(range(calls))

    async def work(agents: aiohttp.ClientSession, seed: int) -> None:
        chance = random.Random(seed)
        for number in left:
            person = people[chance.randrange(2)]
            path, name = chance.choice((("/mcp", "same__echo"), ("/mcp/same", "echo")))
            expected = f"{number} {keys[person.id]}"
            sent[expected] += 1
            params = {"name": name, "arguments": {"text": str(number)}}
            message = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}
            headers = {**HEADERS, "authorization": f"Bearer {person.token}"}
            url = f"{str(person.agent.base_url).rstrip('/')}{path}"
            async with agents.post(url, json=message, headers=headers) as answer:
                found = (await answer.json())["result"]
            said = text_of(found)
            if found.get("isError"):
                failed[said] += 1
            elif said != expected:
                foreign[said] += 1
            if number and number % 10_000 == 0:
                print(f"{number} calls: {foreign.total()} foreign, {failed.total()} failed")

    # Connections are kept for a shorter time than by the servers, as the relay does. More calls
    # than run at once at one connection: some wait for their turn.
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=1)
    async with aiohttp.ClientSession(connector=connector, trust_env=False) as agents:
        await asyncio.gather(*(work(agents, seed) for seed in range(24)))
    assert not foreign
    assert not received - sent, "a call reached the server twice, or with a foreign credential"
    assert not failed
    assert received == sent


async def test_two_users_of_one_server_never_get_each_others_credential(
    tool_user: Callable[[str], Awaitable[ToolUser]], rough: RoughServer, seen_secrets: set[str]
) -> None:
    await mixed_load(tool_user, rough, seen_secrets, 300)


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_nor_in_a_hundred_thousand_calls(
    tool_user: Callable[[str], Awaitable[ToolUser]],
    rough: RoughServer,
    seen_secrets: set[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)  # three lines for each call
    await mixed_load(tool_user, rough, seen_secrets, 100_000)
