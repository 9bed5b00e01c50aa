"""Keys that an admin shares: used without being seen, limited for each user, ended honestly."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from ocmt_management.db import Database
from ocmt_management.settings import ManagementSettings
from ocmt_management.vault.keys import KeyRing
from ocmt_management.vault.rotation import rotate
from ocmt_testing.management.people import Person
from ocmt_testing.management.provider import Provider, openai_chunks, provider_urls

SHARED = "sk-the-admins-key-0123456789"
OWN = "sk-bobs-own-key-0123456789"
MODEL = "gpt-5.5"
COST = 12 * 5e-6 + 3 * 30e-6


@pytest.fixture
def settings(
    make_settings: Callable[..., ManagementSettings],
    its_settings: dict[str, str],
    provider: Provider,
) -> ManagementSettings:
    return make_settings(private_hosts="127.0.0.1", **provider_urls(provider), **its_settings)


@pytest.fixture
async def bob(
    person: Callable[[str], Awaitable[Person]], provider: Provider, seen_secrets: set[str]
) -> Person:
    seen_secrets |= {SHARED, OWN}
    provider.chunks = openai_chunks("Hel", "lo")
    return await person("bob")


async def share(admin: Person, provider: str = "openai", **body: Any) -> dict[str, Any]:
    answer = await admin.browser.put(f"/api/admin/shared-keys/{provider}", json=body)
    assert answer.status_code == 200, answer.text
    assert SHARED not in answer.text
    found: dict[str, Any] = answer.json()
    return found


def choose(person: Person, **body: Any) -> Awaitable[httpx2.Response]:
    return person.browser.put("/api/model", json={"provider": "openai", "model": MODEL, **body})


def ask(person: Person) -> Awaitable[httpx2.Response]:
    body = {"messages": [{"role": "user", "content": "hello"}], "stream": True}
    return person.agent.post("/chat/completions", json=body)


async def choice(person: Person) -> dict[str, Any]:
    answer = (await person.browser.get("/api/model")).json()
    view: dict[str, Any] = next(one for one in answer["providers"] if one["id"] == "openai")
    return {
        "usable": answer["usable"],
        "shared": view["shared"],
        "own": (view["keySet"], view["keyHint"]),
    }


async def test_a_member_uses_it_and_never_sees_it(
    app: FastAPI, ada: Person, bob: Person, provider: Provider
) -> None:
    found = await share(ada, key=SHARED, everyone=True)
    assert found["keyCheck"] == "ok"
    (row,) = found["keys"]
    assert (row["provider"], row["keyHint"], row["everyone"]) == ("openai", "…6789", True)

    assert await choice(bob) == {"usable": True, "shared": True, "own": (False, None)}
    assert (await choose(bob)).status_code == 200
    assert "Hel" in (await ask(bob)).text
    assert provider.asked[0].headers["authorization"] == f"Bearer {SHARED}"
    listed = await bob.browser.get("/api/model/models", params={"provider": "openai"})
    assert listed.json()["models"] == ["model-a", "model-b"]

    for path in ("/api/model", "/api/usage", "/api/secrets", "/api/me"):
        assert "6789" not in (await bob.browser.get(path)).text
    assert (await bob.browser.get("/api/admin/shared-keys")).status_code == 403
    await app.state.llm.usage.write()
    trail = (await ada.browser.get("/api/admin/audit")).json()["events"]
    reads = [one for one in trail if one["action"] == "secret.read"]
    assert {(one["subject"], one["userId"]) for one in reads} == {("model:shared:openai", bob.id)}


async def test_only_chosen_people_may_use_it(ada: Person, bob: Person, provider: Provider) -> None:
    await share(ada, key=SHARED, userIds=[ada.id])
    assert not (await choice(bob))["shared"]
    refused = await choose(bob)
    assert (refused.status_code, refused.json()["code"]) == (422, "key-missing")
    assert (await choose(ada)).status_code == 200

    found = await share(ada, userIds=[bob.id])  # without a key the stored one stays
    assert [one["email"] for one in found["keys"][0]["users"]] == ["bob@example.com"]
    assert (await choose(bob)).status_code == 200
    assert (await ask(bob)).status_code == 200
    assert (await ask(ada)).json()["error"]["code"] == "key-missing"
    assert len(provider.asked) == 1


@pytest.mark.parametrize("end", ["suspended", "removed", "not chosen any more"])
async def test_an_ended_grant_is_told_and_another_model_works_at_once(
    ada: Person, bob: Person, provider: Provider, end: str
) -> None:
    await share(ada, key=SHARED, everyone=True)
    await choose(bob)
    assert (await ask(bob)).status_code == 200

    if end == "suspended":
        await share(ada, everyone=True, suspended=True)
    elif end == "removed":
        assert (await ada.browser.delete("/api/admin/shared-keys/openai")).status_code == 204
    else:
        await share(ada, userIds=[ada.id])

    refused = await ask(bob)
    assert (refused.status_code, refused.json()["error"]["code"]) == (424, "key-missing")
    assert "no admin provides it to you now" in refused.json()["detail"]
    assert await choice(bob) == {"usable": False, "shared": False, "own": (False, None)}
    assert len(provider.asked) == 1
    assert (await choose(bob, key=OWN)).status_code == 200
    assert (await ask(bob)).status_code == 200
    assert provider.asked[-1].headers["authorization"] == f"Bearer {OWN}"


async def test_the_users_own_key_comes_first(ada: Person, bob: Person, provider: Provider) -> None:
    await share(ada, key=SHARED, everyone=True, dayUsd=0)
    await choose(bob, key=OWN)
    assert (await ask(bob)).status_code == 200
    assert provider.asked[0].headers["authorization"] == f"Bearer {OWN}"

    await share(ada, everyone=True)
    assert (await bob.browser.delete("/api/model/keys/openai")).status_code == 204
    assert (await ask(bob)).status_code == 200  # the shared one goes on
    assert provider.asked[1].headers["authorization"] == f"Bearer {SHARED}"


async def test_each_user_has_the_limit_of_the_key(
    app: FastAPI, ada: Person, bob: Person, provider: Provider
) -> None:
    await share(ada, key=SHARED, everyone=True, dayUsd=COST)
    for person in (ada, bob):
        await choose(person)
    assert (await ask(bob)).status_code == 200
    await app.state.llm.usage.write()

    refused = await ask(bob)

    assert (refused.status_code, refused.json()["error"]["code"]) == (424, "budget-reached")
    assert "What an admin provides to you of OpenAI is used up for today" in refused.text
    assert (await ask(ada)).status_code == 200
    await app.state.llm.usage.write()
    shown = (await ada.browser.get("/api/admin/shared-keys")).json()["keys"][0]
    assert shown["monthSpentUsd"] == pytest.approx(2 * COST)
    await share(ada, everyone=True, dayUsd=1)
    assert (await ask(bob)).status_code == 200


async def test_an_unknown_price_is_refused_under_a_limit(ada: Person, bob: Person) -> None:
    await share(ada, key=SHARED, everyone=True, monthUsd=5)
    await choose(bob, model="a-new-model")
    refused = await ask(bob)
    assert (refused.status_code, refused.json()["error"]["code"]) == (424, "price-unknown")


@pytest.mark.parametrize(
    ("status", "message", "code"),
    [
        (401, "Incorrect API key provided: sk-the-a...6789", "provider-refused-key"),
        (400, "Your credit balance is too low", "provider-unpaid"),
    ],
)
async def test_a_trouble_of_the_shared_key_is_for_the_admins(
    ada: Person, bob: Person, provider: Provider, status: int, message: str, code: str
) -> None:
    await share(ada, key=SHARED, everyone=True)
    await choose(bob)
    provider.status, provider.error = status, {"error": {"message": message}}

    refused = await ask(bob)

    assert (refused.status_code, refused.json()["error"]["code"]) == (424, code)
    assert "Tell an admin" in refused.json()["detail"]
    assert "6789" not in refused.text
    provider.error = None
    assert (await ask(bob)).status_code == 200


async def test_a_wrong_key_is_not_shared(ada: Person, provider: Provider) -> None:
    provider.listed = (401, {"error": {"message": "Incorrect API key provided"}})
    refused = await ada.browser.put(
        "/api/admin/shared-keys/openai", json={"key": SHARED, "everyone": True}
    )
    assert (refused.status_code, refused.json()["code"]) == (422, "key-refused")
    assert (await ada.browser.get("/api/admin/shared-keys")).json()["keys"] == []


@pytest.mark.parametrize(
    ("provider_id", "body", "code"),
    [
        ("openai", {"everyone": True}, "key-missing"),
        ("openai", {"key": SHARED, "userIds": ["nobody"]}, "user-unknown"),
        ("openai", {"key": SHARED, "dayUsd": -1}, "invalid-request"),
        ("openai", {"key": f"{SHARED} "}, "invalid-request"),
        ("demo", {"key": SHARED}, "key-not-needed"),
        ("own", {"everyone": True}, "url-missing"),
        ("own", {"url": "https://10.0.0.7/v1"}, "address-refused"),
        ("nobody", {"key": SHARED}, "invalid-request"),
    ],
)
async def test_a_wrong_grant_changes_nothing(
    ada: Person, provider_id: str, body: dict[str, Any], code: str
) -> None:
    refused = await ada.browser.put(f"/api/admin/shared-keys/{provider_id}", json=body)
    assert (refused.status_code, refused.json()["code"]) == (422, code)
    assert (await ada.browser.get("/api/admin/shared-keys")).json()["keys"] == []
    assert (await ada.browser.delete("/api/admin/shared-keys/openai")).status_code == 404


async def test_only_admins_share(bob: Person) -> None:
    for method, path in (
        ("GET", "/api/admin/shared-keys"),
        ("PUT", "/api/admin/shared-keys/openai"),
        ("DELETE", "/api/admin/shared-keys/openai"),
    ):
        body = {"key": SHARED} if method == "PUT" else None
        assert (await bob.browser.request(method, path, json=body)).status_code == 403


async def test_a_server_of_the_admins_own_is_shared(
    ada: Person, bob: Person, provider: Provider
) -> None:
    await share(ada, "own", url=provider.server.url, everyone=True)
    await choose(bob, provider="own", model="llama3")
    assert (await ask(bob)).status_code == 200
    assert provider.asked[0].path == "/v1/chat/completions"
    assert "authorization" not in provider.asked[0].headers
    view = (await bob.browser.get("/api/model")).json()["providers"]
    assert provider.server.url not in json.dumps(view)


async def test_the_keys_of_the_vault_are_renewed(
    app: FastAPI, settings: ManagementSettings, ada: Person, bob: Person
) -> None:
    await share(ada, key=SHARED, everyone=True)
    old = settings.vault_keys
    newer = KeyRing({"newer": bytes(range(1, 33)), **old})
    database: Database = app.state.database

    assert await rotate(database, newer) >= 1
    assert await rotate(database, newer) == 0

    app.state.llm._keys = KeyRing({"newer": bytes(range(1, 33))})
    await choose(bob)
    assert (await ask(bob)).status_code == 200
