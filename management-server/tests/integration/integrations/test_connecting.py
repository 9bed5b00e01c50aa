"""Connecting accounts at a real authorization server, and every way in which that goes wrong."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from fastapi import FastAPI
from ocmt_management.integrations.service import ConnectionTrouble
from ocmt_management.settings import ManagementSettings
from ocmt_testing.management.connecting import Person
from ocmt_testing.oidc_provider import CLIENT_SECRET
from sqlalchemy import text

SignIn = Callable[[str], Awaitable[httpx2.AsyncClient]]


async def test_two_accounts_are_connected_tested_and_disconnected(
    app: FastAPI, ada: Person, settings: ManagementSettings
) -> None:
    first = await ada.connect("ada-at-notes")
    second = await ada.connect("ada-at-work")

    shown = {one["account"]: one for one in await ada.all()}
    assert set(shown) == {"ada-at-notes@as.example", "ada-at-work@as.example"}
    one = shown["ada-at-notes@as.example"]
    assert (one["id"], one["name"], one["state"], one["trouble"]) == (first, "Notes", "ok", None)
    assert one["scopes"] == ["Know which account it is", "Read notes"]
    assert one["missing"] == []
    tested = await ada.browser.post(f"/api/connections/{first}/test")
    assert tested.json()["trouble"] is None

    again = await ada.connect("ada-at-notes", connectionId=first)
    assert again == first, "the same account is the same connection"
    assert len(await ada.all()) == 2
    access = await app.state.integrations.access(ada.id, second)
    gone = await ada.browser.delete(f"/api/connections/{second}")
    assert gone.json() == {"revoked": True, "byHand": None}
    assert [c["id"] for c in await ada.all()] == [first]
    async with httpx2.AsyncClient(trust_env=False) as anyone:
        used = await anyone.get(
            f"{ada.provider.url}/api/x",
            headers={"authorization": f"Bearer {access.token.reveal()}"},
        )
    assert used.status_code == 401, "it is revoked at the provider, too"
    repeated = await ada.browser.delete(f"/api/connections/{second}")
    assert (repeated.status_code, repeated.json()["code"]) == (404, "connection-unknown")


@pytest.mark.parametrize("by", ["the person", "an admin"])
async def test_deleting_a_person_ends_the_access_at_the_provider(
    app: FastAPI, ada: Person, bob: Person, by: str
) -> None:
    connection = await bob.connect("bob-at-notes")
    access = await app.state.integrations.access(bob.id, connection)
    deleter, path = bob.browser, "/api/account/deletion"
    if by == "an admin":
        deleter, path = ada.browser, f"/api/admin/users/{bob.id}/deletion"

    wrong = await deleter.post(path, json={"email": "ada@example.com"})
    assert (wrong.status_code, len(await bob.all())) == (409, 1)
    assert (await deleter.post(path, json={"email": "bob@example.com"})).status_code == 202

    async with httpx2.AsyncClient(trust_env=False) as anyone:
        used = await anyone.get(
            f"{ada.provider.url}/api/x",
            headers={"authorization": f"Bearer {access.token.reveal()}"},
        )
    assert used.status_code == 401


async def test_a_provider_that_hangs_does_not_hold_up_deleting_a_person(
    app: FastAPI, bob: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bob.connect("bob-at-notes")
    service = "ocmt_management.integrations.service"
    monkeypatch.setattr(f"{service}._DISCONNECT_ALL_WITHIN_S", 0.1)

    async def hang(*_: object) -> bool:
        await asyncio.Event().wait()
        return False

    monkeypatch.setattr(app.state.integrations.flows, "revoke", hang)
    async with asyncio.timeout(20):
        answer = await bob.browser.post("/api/account/deletion", json={"email": "bob@example.com"})
    assert answer.status_code == 202
    assert (await bob.browser.get("/api/me")).status_code == 401


async def test_an_answer_is_good_once_in_the_session_that_asked(
    app: FastAPI,
    ada: Person,
    bob: Person,
    sign_in_admin: SignIn,
    new_browser: Callable[[], httpx2.AsyncClient],
    advance: Callable[[timedelta], None],
) -> None:
    back = await ada.provider.consent(await ada.start(), "ada-at-notes")
    for_another = Person(bob.id, bob.browser, ada.provider, ada.secrets)
    stranger = Person("", new_browser(), ada.provider, ada.secrets)
    other_session = Person(
        ada.id, await sign_in_admin("ada@example.com"), ada.provider, ada.secrets
    )
    assert await for_another.come_back(back) == "?result=state-wrong"
    assert await stranger.come_back(back) == "?result=signed-out"
    assert await other_session.come_back(back) == "?result=state-wrong"
    doubled = f"{back}&state=x"
    assert await ada.come_back(doubled) == "?result=provider-error"
    for wrong in (back.replace("state=", "state=x"), back.replace("state=", "s=")):
        assert await ada.come_back(wrong) == "?result=state-wrong"
    assert (await ada.come_back(back)).startswith("?result=connected&connection=")
    assert await ada.come_back(back) == "?result=state-wrong", "replayed"
    assert await bob.all() == []

    late = await ada.provider.consent(await ada.start(), "ada-at-notes")
    advance(timedelta(minutes=11))
    assert await ada.come_back(late) == "?result=state-wrong", "too late"
    ended = await ada.provider.consent(await other_session.start(), "ada-at-notes")
    await other_session.browser.delete("/api/auth/session")
    assert await other_session.come_back(ended) == "?result=signed-out"
    assert await ada.come_back(ended) == "?result=state-wrong", "its session ended"


async def test_refusing_and_every_wrong_answer_end_on_a_page_that_says_so(ada: Person) -> None:
    refused = await ada.provider.consent(await ada.start(), "ada-at-notes", refuse=True)
    assert await ada.come_back(refused) == "?result=refused"
    back = await ada.provider.consent(await ada.start(), "ada-at-notes")
    other_issuer = back.replace("iss=http", "iss=https")
    assert other_issuer != back, "the provider names itself"
    assert await ada.come_back(other_issuer) == "?result=issuer-wrong"
    for mode, code in (
        ("html", "no-tokens"), ("broken", "no-tokens"), ("client", "client-wrong"),
        ("lost", "no-answer"), ("nobody", "account-unknown"),
    ):  # fmt: skip
        back = await ada.provider.consent(await ada.start(), "ada-at-notes")
        await ada.provider.set(mode=mode)
        assert await ada.come_back(back) == f"?result={code}", mode
        await ada.provider.set(mode="well")
    assert await ada.all() == []


async def test_another_account_and_fewer_scopes_are_told(ada: Person) -> None:
    first = await ada.connect("ada-at-notes")
    back = await ada.provider.consent(await ada.start(connectionId=first), "ada-at-work")
    assert (await ada.come_back(back)).startswith("?result=another-account")
    assert len(await ada.all()) == 2, "neither took the place of the other"

    url = await ada.start(scopes=["notes"])
    asked = parse_qs(urlsplit(url).query)["scope"]
    assert asked == ["openid notes"], "required scopes are always asked for"
    less = url.replace("openid%20notes", "openid").replace("openid+notes", "openid")
    back = await ada.provider.consent(less, "ada-at-home")
    assert (await ada.come_back(back)).startswith("?result=fewer-scopes")
    (home,) = (c for c in await ada.all() if c["account"].startswith("ada-at-home"))
    assert home["missing"] == ["Read notes"]


async def test_nobody_touches_anothers_connections(ada: Person, bob: Person) -> None:
    connection = await ada.connect()
    one = f"/api/connections/{connection}"
    for method, path, body in (
        ("POST", f"{one}/test", None),
        ("DELETE", one, None),
        ("PUT", f"/api/connections/keys/{connection}", {"key": "x" * 20}),
        ("POST", "/api/connections/start", {"provider": "own", "connectionId": connection}),
    ):
        answer = await bob.browser.request(method, path, json=body)
        assert (answer.status_code, answer.json()["code"]) == (404, "connection-unknown"), path
    for method, path in (("GET", ""), ("PUT", "/own"), ("DELETE", "/own")):
        answer = await bob.browser.request(
            method, f"/api/admin/integrations{path}", json={"clientId": "x"}
        )
        assert (answer.status_code, answer.json()["code"]) == (403, "not-admin")
    assert await bob.all() == []
    assert (await ada.one(connection))["state"] == "ok"


async def test_clients_are_the_admins_and_secrets_stay(app: FastAPI, ada: Person) -> None:
    listed = (await ada.browser.get("/api/admin/integrations")).json()
    own = next(c for c in listed["clients"] if c["id"] == "own")
    assert listed["redirectUri"].endswith("/api/connections/callback")
    assert (own["clientId"], own["secretSet"]) == ("ocmt", True)
    assert CLIENT_SECRET not in str(listed)
    assert next(c for c in listed["clients"] if c["id"] == "google")["clientId"] is None
    endpoints = own["endpoints"]

    async def put(provider: str, **body: Any) -> tuple[int, str]:
        answer = await ada.browser.put(f"/api/admin/integrations/{provider}", json=body)
        return answer.status_code, answer.json().get("code", "")

    assert await put("google", clientId="g", clientSecret="s") == (200, "")
    assert await put("nope", clientId="g") == (404, "provider-unknown")
    assert await put("api-key", clientId="g") == (404, "provider-unknown")
    assert await put("own", clientId="g") == (422, "endpoints-wrong")
    assert await put("google", clientId="g", endpoints=endpoints) == (422, "endpoints-wrong")
    assert await put("google", clientId="a b") == (422, "invalid-request")
    insecure = {**endpoints, "tokenUrl": "http://as.example/token"}
    assert await put("own", clientId="g", endpoints=insecure) == (422, "url-insecure")
    assert (await put("own", clientId="ocmt", endpoints=endpoints))[0] == 200
    await ada.connect(), "without a secret in the request the stored one is kept"
    deleted = await ada.browser.delete("/api/admin/integrations/google")
    assert deleted.status_code == 204
    start = await ada.browser.post("/api/connections/start", json={"provider": "google"})
    assert (start.status_code, start.json()["code"]) == (409, "provider-not-ready")


async def test_a_clients_secret_goes_to_no_address_that_it_was_not_entered_for(
    app: FastAPI, ada: Person, advance: Callable[[timedelta], None]
) -> None:
    connection, other = await ada.connect(), await ada.connect("ada-at-work")
    endpoints = await ada.provider.endpoints()
    pending = await ada.provider.consent(await ada.start(), "ada-at-home")

    async def put(secret: str | None = None, **changed: Any) -> tuple[int, str]:
        body = {"clientId": "ocmt", "endpoints": {**endpoints, **changed}}
        if secret is not None:
            body["clientSecret"] = secret
        answer = await ada.browser.put("/api/admin/integrations/own", json=body)
        return answer.status_code, answer.json().get("code", "")

    elsewhere = f"{ada.provider.url}/elsewhere"
    assert await put(tokenUrl=elsewhere) == (422, "client-secret-needed")
    assert await put(revokeUrl=elsewhere) == (422, "client-secret-needed")
    assert await put(name="Other notes") == (200, "")
    assert await ada.connect(connectionId=connection), "nothing of the refused ones was stored"

    assert await put(secret="another-secret-0123", tokenUrl=elsewhere) == (200, "")
    seen = (await ada.provider.set())["tokens"]
    assert await ada.come_back(pending) == "?result=client-gone"
    advance(timedelta(hours=1))
    with pytest.raises(ConnectionTrouble) as trouble:
        await app.state.integrations.access(ada.id, connection)
    assert trouble.value.broken
    assert (await ada.one(connection))["state"] == "reconnect"
    gone = await ada.browser.delete(f"/api/connections/{other}")
    assert gone.json()["revoked"] is False
    assert (await ada.provider.set())["tokens"] == seen, "no secret was sent to the old address"


async def test_no_secret_is_readable_in_the_database(app: FastAPI, ada: Person) -> None:
    connection = await ada.connect()
    access = await app.state.integrations.access(ada.id, connection)
    key = await ada.browser.post(
        "/api/connections/keys",
        json={"name": "Own", "host": "api.example.com", "key": "key-0123456789-abcdef"},
    )
    assert key.status_code == 201, key.text
    await ada.start()
    found = b""
    async with app.state.database.read() as session:
        for table in ("connections", "oauth_flows", "oauth_clients", "audit_events", "secrets"):
            for row in await session.execute(text(f"SELECT * FROM {table}")):
                found += repr(tuple(row)).encode() + b"".join(
                    bytes(v) for v in row if isinstance(v, bytes | memoryview)
                )
    secrets = {access.token.reveal(), CLIENT_SECRET, "key-0123456789-abcdef", *ada.secrets}
    assert found
    assert [s for s in secrets if len(s) > 15 and s.encode() in found] == []
