"""Choosing a model and keeping its key."""

from collections.abc import Awaitable, Callable

import httpx2
import pytest
from ocmt_management.settings import ManagementSettings

SignIn = Callable[[str], Awaitable[httpx2.AsyncClient]]
KEY = "sk-abcdefghijklmnop-1234"


@pytest.fixture
def settings(
    make_settings: Callable[..., ManagementSettings],
    database_url: str,
    its_settings: dict[str, str],
) -> ManagementSettings:
    return make_settings(database_url=database_url, **its_settings)


@pytest.fixture
async def ada(sign_in: SignIn, seen_secrets: set[str]) -> httpx2.AsyncClient:
    seen_secrets.add(KEY)
    return await sign_in("ada@example.com")


async def test_everybody_begins_with_the_demo(ada: httpx2.AsyncClient) -> None:
    answer = (await ada.get("/api/model")).json()

    assert (answer["provider"], answer["model"], answer["demo"]) == ("demo", "demo", True)
    providers = {p["id"]: p for p in answer["providers"]}
    assert list(providers) == ["demo", "openai", "anthropic", "openrouter"]
    assert not any(p["keySet"] for p in providers.values())
    assert all(p["models"] and p["name"] for p in providers.values())


async def test_a_model_is_chosen_with_its_key(ada: httpx2.AsyncClient) -> None:
    chosen = await ada.put("/api/model", json={"provider": "openai", "model": "gpt-x", "key": KEY})

    assert chosen.status_code == 200
    assert KEY not in chosen.text
    assert chosen.json() == (await ada.get("/api/model")).json()
    openai = next(p for p in chosen.json()["providers"] if p["id"] == "openai")
    assert (openai["keySet"], openai["keyHint"]) == (True, "…1234")
    assert (await ada.get("/api/me")).json()["model"] == {
        "provider": "openai",
        "model": "gpt-x",
        "demo": False,
    }


async def test_another_model_of_the_provider_needs_no_key_again(ada: httpx2.AsyncClient) -> None:
    await ada.put("/api/model", json={"provider": "openai", "model": "gpt-x", "key": KEY})
    await ada.put("/api/model", json={"provider": "demo", "model": "demo"})

    again = await ada.put("/api/model", json={"provider": "openai", "model": "gpt-y"})

    assert (again.status_code, again.json()["model"]) == (200, "gpt-y")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"provider": "openai", "model": "gpt-x"}, "key-missing"),
        ({"provider": "demo", "model": "gpt-x"}, "model-unknown"),
        ({"provider": "demo", "model": "demo", "key": KEY}, "key-not-needed"),
        ({"provider": "nobody", "model": "x", "key": KEY}, "invalid-request"),
        ({"provider": "openai", "model": "", "key": KEY}, "invalid-request"),
        ({"provider": "openai", "model": "x" * 129, "key": KEY}, "invalid-request"),
        ({"provider": "openai", "model": "a b", "key": KEY}, "invalid-request"),
        ({"provider": "openai", "model": "x", "key": ""}, "invalid-request"),
        ({"provider": "openai", "model": "x", "key": f"{KEY} "}, "invalid-request"),
        ({"provider": "openai", "model": "x", "key": f"{KEY}\nx: y"}, "invalid-request"),
        ({"provider": "openai", "model": "x", "key": "k" * 513}, "invalid-request"),
        ({"provider": "openai", "model": "x", "key": "schlüssel"}, "invalid-request"),
        ({"provider": "openai", "model": "x", "key": KEY, "userId": "bob"}, "invalid-request"),
    ],
)
async def test_a_wrong_choice_changes_nothing(
    ada: httpx2.AsyncClient, body: dict[str, str], code: str
) -> None:
    refused = await ada.put("/api/model", json=body)

    assert (refused.status_code, refused.json()["code"]) == (422, code)
    assert KEY not in refused.text
    assert (await ada.get("/api/model")).json()["demo"] is True


@pytest.mark.both_databases
async def test_without_its_key_a_model_gives_way_to_the_demo(ada: httpx2.AsyncClient) -> None:
    await ada.put("/api/model", json={"provider": "openai", "model": "gpt-x", "key": KEY})

    assert (await ada.delete("/api/model/keys/openai")).status_code == 204
    assert (await ada.get("/api/model")).json()["demo"] is True
    again = await ada.delete("/api/model/keys/openai")
    assert (again.status_code, again.json()["code"]) == (404, "key-unknown")


@pytest.mark.both_databases
async def test_deleting_a_key_of_another_provider_keeps_the_model(ada: httpx2.AsyncClient) -> None:
    for provider in ("openai", "anthropic"):
        await ada.put("/api/model", json={"provider": provider, "model": "x", "key": KEY})

    await ada.delete("/api/model/keys/openai")

    assert (await ada.get("/api/model")).json()["provider"] == "anthropic"


async def test_keys_and_choices_are_each_users_own(
    ada: httpx2.AsyncClient, sign_in: SignIn
) -> None:
    await ada.put("/api/model", json={"provider": "openai", "model": "gpt-x", "key": KEY})
    bob = await sign_in("bob@example.com")

    answer = (await bob.get("/api/model")).json()
    assert answer["demo"] is True
    assert not any(p["keySet"] for p in answer["providers"])
    assert (await bob.delete("/api/model/keys/openai")).status_code == 404
    refused = await bob.put("/api/model", json={"provider": "openai", "model": "gpt-x"})
    assert refused.json()["code"] == "key-missing"
    assert (await ada.get("/api/model")).json()["provider"] == "openai"


async def test_model_keys_are_not_among_ones_own_secrets(ada: httpx2.AsyncClient) -> None:
    await ada.put("/api/model", json={"provider": "openai", "model": "gpt-x", "key": KEY})

    assert (await ada.get("/api/secrets")).json() == {"secrets": []}
