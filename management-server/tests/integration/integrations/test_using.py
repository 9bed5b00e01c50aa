"""The agent uses connections: the provider's API through `ocmt_api`, and a server signed in to."""

import asyncio
import json
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from fastapi import FastAPI
from ocmt_management.integrations.resource_metadata import issuer_tag
from ocmt_management.tools.connection_requests import ConnectionRequests
from ocmt_testing.management.connecting import Person
from ocmt_testing.management.protected_server import ProtectedServer
from ocmt_testing.management.serving import serving
from ocmt_testing.management.tool_user import ToolUser, text_of
from ocmt_testing.oidc_provider import CLIENT_ID, CLIENT_SECRET


async def api(user: ToolUser, **arguments: Any) -> tuple[bool, str]:
    result = await user.call("ocmt_api", {"connection": "notes", **arguments})
    return bool(result.get("isError")), text_of(result)


async def link_for(user: ToolUser, **arguments: Any) -> tuple[str, bool]:
    result = await user.call("ocmt_link_for_person", arguments)
    return text_of(result), bool(result.get("isError"))


@pytest.fixture
def requests(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> ConnectionRequests:
    """The connection requests, which no agent is told of but by the test."""
    found: ConnectionRequests = app.state.tools.built_in._links._requests

    async def nobody() -> list[str]:
        return []

    monkeypatch.setattr(found, "due", nobody)
    return found


async def told(requests: ConnectionRequests, user_id: str) -> list[str]:
    return [message.text for message in await requests.take(user_id)]


async def test_the_agent_calls_an_api_within_the_rules(
    app: FastAPI, ada: Person, user: ToolUser, requests: ConnectionRequests
) -> None:
    wrong, text = await api(user, url="/user")
    assert wrong
    assert "There are: none" in text
    assert "ocmt_link_for_person" in text
    link, wrong = await link_for(user, to="account", provider="notes")
    assert not wrong
    assert "/connections?provider=own" in link
    for unknown in ("github", "Noted", 5, ""):
        text, wrong = await link_for(user, to="account", provider=unknown)
        assert wrong
        assert "one of API key, Notes" in text
    assert await told(requests, ada.id) == []
    connection = await ada.connect()
    (message,) = await told(requests, ada.id)
    assert message.startswith("[OCMT] I connected an account of Notes: the connection `notes` of")
    assert "ada-at-notes" not in message, "what the provider says is not the person's word"
    ada.secrets.add((await app.state.integrations.access(ada.id, connection)).token.reveal())
    tools = [t["name"] for t in (await user.rpc("tools/list"))["result"]["tools"]]
    assert "ocmt_api" in tools
    assert not [name for name in tools if name.startswith("notes__")], "one tool for all"
    listed = text_of(await user.call("ocmt_list_connections"))
    assert "notes: Notes, account ada-at-notes@as.example, ok." in listed
    assert "/connections" in listed

    wrong, text = await api(user, url="/user", query={"a": 1})
    assert not wrong
    answer = json.loads(json.loads(text)["body"])
    assert (answer["who"], answer["method"]) == ("ada-at-notes", "GET")
    assert answer["echo"] == "[token]", "not even if the provider sends it back"
    for url in ("https://evil.example/x", "http://127.0.0.1:1/x", "//evil.example"):
        wrong, text = await api(user, url=url)
        assert wrong, url
    wrong, text = await api(user, url="/x", headers={"X-HTTP-Method-Override": "DELETE"})
    assert wrong
    assert (await ada.provider.set())["api"] == ["GET /api/user?a=1"]

    changing = asyncio.create_task(api(user, url="/notes", method="POST", body={"text": "hi"}))
    waiting: list[dict[str, Any]] = []
    async with asyncio.timeout(30):
        while not waiting:
            await asyncio.sleep(0.05)
            answered = (await ada.browser.get("/api/approvals")).json()["approvals"]
            waiting = [one for one in answered if one["state"] == "waiting"]
    assert (await ada.provider.set())["api"] == ["GET /api/user?a=1"], "it waits"
    assert waiting[0]["tool"] == "change"
    assert waiting[0]["server"] == "Notes (ada-at-notes@as.example)"
    decided = await ada.browser.post(
        f"/api/approvals/{waiting[0]['id']}/decision",
        json={"decision": "once", "version": waiting[0]["version"]},
    )
    assert decided.status_code == 200, decided.text
    wrong, text = await changing
    assert not wrong, text
    assert json.loads(json.loads(json.loads(text)["body"])["body"]) == {"text": "hi"}
    shown = await ada.one(connection)
    assert shown["lastUsedFor"].startswith("POST 127.0.0.1:")
    assert shown["lastUsedFor"].endswith("/api/notes")

    server = next(
        s for s in (await ada.browser.get("/api/tools")).json()["servers"] if s["id"] == connection
    )
    assert [(t["name"], t["ownRule"]) for t in server["tools"]] == [
        ("change", None),
        ("read", "allow"),
    ]
    await user.rule(server, "deny", "read")
    wrong, text = await api(user, url="/user")
    assert wrong
    assert "denied by a rule" in text
    for method, path in (("DELETE", ""), ("PATCH", ""), ("PUT", "/connection")):
        answer_ = await ada.browser.request(
            method, f"/api/tools/servers/{connection}{path}", json={}
        )
        assert (answer_.status_code, answer_.json()["code"]) == (409, "is-a-connection")
    assert (await user.agent.post("/mcp/notes", json={})).status_code == 404
    await ada.browser.delete(f"/api/connections/{connection}")
    wrong, text = await api(user, url="/user")
    assert "There are: none" in text


async def test_a_token_that_is_rejected_early_is_renewed_once(
    app: FastAPI, ada: Person, user: ToolUser
) -> None:
    connection = await ada.connect()
    integrations = app.state.integrations
    first = await integrations.access(ada.id, connection)
    await ada.provider.set(forgotten=first.token.reveal())
    wrong, text = await api(user, url="/user")
    assert not wrong, text
    assert (await integrations.access(ada.id, connection)).version == first.version + 1
    # A 401 that is not about the token changes nothing.
    await ada.provider.set(refuse=True)
    wrong, text = await api(user, url="/user")
    assert json.loads(text)["status"] == 401
    assert (await ada.one(connection))["state"] == "ok"

    await ada.provider.set(refuse=False)
    async with httpx2.AsyncClient(trust_env=False) as elsewhere:
        await elsewhere.post(
            f"{ada.provider.url}/token/revocation",
            data={"token": (await integrations.access(ada.id, connection)).token.reveal()},
            auth=(CLIENT_ID, CLIENT_SECRET),
        )
    wrong, text = await api(user, url="/user")
    assert wrong
    assert "connected again by its person" in text
    assert (await ada.one(connection))["state"] == "reconnect", "revoked at the provider"


async def test_a_tool_server_is_signed_in_to_without_a_client_of_the_operator(
    app: FastAPI, ada: Person, user: ToolUser, bob: Person, advance: Any,
    requests: ConnectionRequests,
) -> None:  # fmt: skip
    protected = ProtectedServer(ada.provider.url)
    async with serving(protected.app) as server:
        protected.url = f"{server.url}/mcp"
        added = await user.add("protected", protected.url)
        assert "sign in" in added["trouble"]
        link, wrong = await link_for(user, to="connect", server="Protected")
        assert (wrong, "/tools" in link) == (False, True)
        text, wrong = await link_for(user, to="connect", server="unprotected")
        assert wrong
        assert "one of protected" in text
        assert await told(requests, ada.id) == []
        path = f"/api/tools/servers/{added['id']}/sign-in"
        foreign = await bob.browser.post(path)
        assert (foreign.status_code, foreign.json()["code"]) == (404, "server-unknown")
        started = (await ada.browser.post(path)).json()["url"]
        assert "resource=" in started
        assert "code_challenge_method=S256" in started
        tag = issuer_tag(ada.provider.url)
        redirect = parse_qs(urlsplit(started).query)["redirect_uri"][0]
        assert redirect.endswith(f"/api/connections/callback/{tag}"), "that of its issuer alone"
        stolen = await ada.provider.consent(started, "ada-at-mcp")
        for path_of_another in ("callback", f"callback/{issuer_tag('https://evil.example')}"):
            elsewhere = stolen.replace(f"callback/{tag}", path_of_another)
            assert elsewhere != stolen
            assert await ada.come_back(elsewhere) == "?result=issuer-wrong"
            started = (await ada.browser.post(path)).json()["url"]
            stolen = await ada.provider.consent(started, "ada-at-mcp")
        own = await ada.provider.consent(await ada.start(), "ada-at-notes")
        mixed_up = own.replace("/callback", f"/callback/{tag}")
        assert await ada.come_back(mixed_up) == "?result=issuer-wrong"
        back = await ada.come_back(stolen)
        assert back.startswith("?result=connected"), back
        await app.state.tools.idle()
        view = await user.view(added)
        assert [tool["name"] for tool in view["tools"]] == ["whoami"], "read at once"
        (message,) = await told(requests, ada.id)
        assert "tool server protected: its tools are there now" in message
        link, wrong = await link_for(user, to="connect", server="protected")
        assert "is connected already" in link
        assert view["trouble"] is None
        assert view["connectionId"] is not None
        await user.allow(added)
        assert text_of(await user.call("protected__whoami")) == "ada-at-mcp"
        protected.lacks = "secret-notes"
        lacking = text_of(await user.call("protected__whoami"))
        assert "They can sign in again under Tools" in lacking
        (shown,) = await ada.all()
        assert "secret-notes" in shown["missing"]
        started = (await ada.browser.post(path)).json()["url"]
        asked = parse_qs(urlsplit(started).query)["scope"][0].split()
        assert {"notes", "secret-notes"} <= set(asked), "those of before, too"
        protected.lacks = None
        back = await ada.come_back(await ada.provider.consent(started, "ada-at-mcp"))
        assert back.startswith("?result=connected"), back
        await app.state.tools.idle()
        assert text_of(await user.call("protected__whoami")) == "ada-at-mcp"
        advance(timedelta(hours=1))
        assert text_of(await user.call("protected__whoami")) == "ada-at-mcp", "refreshed"
        (shown,) = await ada.all()
        assert (shown["kind"], shown["account"]) == ("mcp", "protected")
        signed_out = await ada.browser.delete(f"/api/tools/servers/{added['id']}/connection")
        assert signed_out.status_code == 204
        assert await ada.all() == []
        assert (await user.call("protected__whoami"))["isError"] is True
