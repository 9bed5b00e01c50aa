"""Shared servers over stdio, through an agent server that a test plays."""

import asyncio
import json

import pytest
from fastapi import FastAPI
from ocmt_management.tools import installations
from ocmt_testing.management.agent_server import FakeAgentServer
from ocmt_testing.management.mcp_servers import RealServer
from ocmt_testing.management.tool_user import ToolUser, text_of

KEY = "key-of-bob-0123456789"
PACKAGE = {
    "name": "@modelcontextprotocol/server-filesystem",
    "version": "2026.8.31",
    "integrity": f"sha512-{'A' * 86}==",
    "arguments": ["/data"],
}


async def test_a_package_is_defined_for_each_user_with_their_credential(
    app: FastAPI,
    ada: ToolUser,
    bob: ToolUser,
    stateless: RealServer,
    agent_server: FakeAgentServer,
    seen_secrets: set[str],
) -> None:
    seen_secrets.add(KEY)
    agent_server.tool_server_url = stateless.url
    added = await ada.browser.post(
        "/api/admin/tools/servers",
        json={"name": "Files", "package": PACKAGE, "credentialName": "API_TOKEN"},
    )
    assert added.status_code == 201, added.text
    server = added.json()
    connection = f"/api/tools/servers/{server['id']}/connection"

    connected = await bob.browser.put(connection, json={"credential": KEY})

    assert connected.json()["trouble"] is None
    assert connected.json()["package"] == "@modelcontextprotocol/server-filesystem@2026.8.31"
    defined = agent_server.tool_servers[bob.id, server["id"]]
    assert defined == {
        "package": PACKAGE["name"],
        "version": PACKAGE["version"],
        "integrity": PACKAGE["integrity"],
        "arguments": ["/data"],
        "environment": {"API_TOKEN": KEY},
    }
    await bob.allow(server)
    agent_server.tool_servers.clear()
    answer = await bob.call("files__echo", {"text": "hi"})
    assert json.loads(text_of(answer)) == ["echo", {"text": "hi"}, ""], "defined once more"
    assert not any(KEY in str(seen.headers) for seen in stateless.seen)

    assert (await bob.browser.delete(connection)).status_code == 204
    await app.state.tools.idle()
    assert agent_server.tool_servers == {}
    assert await bob.listed() == []


@pytest.mark.parametrize(
    ("state", "trouble"), [("running", None), ("failed", "Files: npm's registry does not have it.")]
)
async def test_a_package_that_is_being_installed_is_shown_as_that_until_it_ends(
    app: FastAPI,
    ada: ToolUser,
    stateless: RealServer,
    agent_server: FakeAgentServer,
    monkeypatch: pytest.MonkeyPatch,
    state: str,
    trouble: str | None,
) -> None:
    monkeypatch.setattr(installations, "_LOOK_EVERY_S", 0.02)
    agent_server.tool_server_url = stateless.url
    agent_server.tool_server_state = "installing"
    agent_server.tool_server_held = asyncio.Event()
    added = await ada.browser.post(
        "/api/admin/tools/servers", json={"name": "Files", "package": PACKAGE}
    )
    path = f"/api/tools/servers/{added.json()['id']}"

    connected = (await ada.browser.put(f"{path}/connection", json={})).json()
    again = (await ada.browser.post(f"{path}/refresh")).json()
    for view in (connected, again, await ada.view(added.json())):
        assert (view["installing"], view["trouble"], view["tools"]) == (True, None, [])

    agent_server.tool_server_state = state
    agent_server.tool_server_held.set()
    await app.state.tools.idle()
    view = await ada.view(added.json())
    assert (view["installing"], view["trouble"]) == (False, trouble)
    assert len(view["tools"]) == (2 if trouble is None else 0)


async def test_the_agent_servers_refusal_reaches_the_person(
    ada: ToolUser, agent_server: FakeAgentServer
) -> None:
    need_docker = (409, "tool-servers-need-docker", "This host has no Docker. Use HTTP.")
    agent_server.tool_server_refusals = [need_docker]
    added = await ada.browser.post(
        "/api/admin/tools/servers", json={"name": "Files", "package": PACKAGE}
    )
    connected = await ada.browser.put(
        f"/api/tools/servers/{added.json()['id']}/connection", json={}
    )

    assert connected.json()["trouble"] == "Files: This host has no Docker. Use HTTP."


async def test_packages_are_pinned_and_their_environment_is_checked(ada: ToolUser) -> None:
    for change in (
        {"version": "latest"},
        {"version": "^1.0.0"},
        {"integrity": "sha1-x"},
        {"integrity": ""},
        {"name": "../x"},
        {"name": "git+https://x"},
        {"arguments": ["a\x00b"]},
        {"arguments": ["a"] * 33},
    ):
        answer = await ada.browser.post(
            "/api/admin/tools/servers", json={"name": "Files", "package": {**PACKAGE, **change}}
        )
        assert answer.status_code == 422, change
    for name in ("PATH", "LD_PRELOAD", "NODE_OPTIONS", "x-y", "npm_config_registry"):
        answer = await ada.browser.post(
            "/api/admin/tools/servers",
            json={"name": "Files", "package": PACKAGE, "credentialName": name},
        )
        assert answer.status_code == 422, name
    both = await ada.browser.post(
        "/api/admin/tools/servers",
        json={"name": "Files", "package": PACKAGE, "url": "https://example.com/mcp"},
    )
    assert "either url or package" in both.text
