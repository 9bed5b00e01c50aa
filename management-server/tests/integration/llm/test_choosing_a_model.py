"""Choosing a model and keeping its key."""

from collections.abc import Awaitable, Callable

import httpx2
import pytest
from ocmt_management.llm.providers import PROVIDERS, ProviderId
from ocmt_management.settings import ManagementSettings
from ocmt_testing.management.provider import Provider, provider_urls

SignIn = Callable[[str], Awaitable[httpx2.AsyncClient]]
KEY = "sk-abcdefghijklmnop-1234"


@pytest.fixture
def settings(
    make_settings: Callable[..., ManagementSettings],
    database_url: str,
    its_settings: dict[str, str],
    provider: Provider,
) -> ManagementSettings:
    return make_settings(database_url=database_url, **provider_urls(provider), **its_settings)


@pytest.fixture
async def ada(sign_in: SignIn, seen_secrets: set[str]) -> httpx2.AsyncClient:
    seen_secrets.add(KEY)
    return await sign_in("ada@example.com")


async def test_everybody_begins_with_the_demo(ada: httpx2.AsyncClient) -> None:
    answer = (await ada.get("/api/model")).json()

    assert (answer["provider"], answer["model"], answer["demo"]) == ("demo", "demo", True)
    providers = {p["id"]: p for p in answer["providers"]}
    assert list(providers) == [
        "demo", "openai", "anthropic", "openrouter", "google", "mistral", "deepseek", "xai", "groq",
        "own",
    ]  # fmt: skip
    assert not any(p["keySet"] for p in providers.values())
    assert not any(p["shared"] for p in providers.values())
    assert all(p["name"] for p in providers.values())
    assert [name for name, p in providers.items() if not p["models"]] == ["own"]


async def test_a_model_is_chosen_with_its_key(ada: httpx2.AsyncClient) -> None:
    chosen = await ada.put("/api/model", json={"provider": "openai", "model": "gpt-x", "key": KEY})

    assert chosen.status_code == 200
    assert KEY not in chosen.text
    assert chosen.json()["keyCheck"] == "ok"
    assert chosen.json() == (await ada.get("/api/model")).json() | {"keyCheck": "ok"}
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


@pytest.mark.parametrize(
    ("name", "path", "credential"),
    [
        ("openai", "/openai/v1/models", "authorization"),
        ("anthropic", "/anthropic/v1/models", "x-api-key"),
        ("openrouter", "/openrouter/v1/key", "authorization"),
        ("google", "/google/v1/models", "authorization"),
        ("mistral", "/mistral/v1/models", "authorization"),
        ("deepseek", "/deepseek/v1/models", "authorization"),
        ("xai", "/xai/v1/models", "authorization"),
        ("groq", "/groq/v1/models", "authorization"),
    ],
)
async def test_each_provider_is_asked_about_a_key_when_it_is_saved(
    ada: httpx2.AsyncClient, provider: Provider, name: str, path: str, credential: str
) -> None:
    saved = await ada.put("/api/model", json={"provider": name, "model": "m", "key": KEY})

    assert saved.json()["keyCheck"] == "ok"
    (asked,) = provider.looked_up
    assert asked.path == path
    assert asked.headers[credential].removeprefix("Bearer ") == KEY
    assert ("anthropic-version" in asked.headers) == (name == "anthropic")


@pytest.mark.parametrize(
    ("status", "message"),
    [(401, f"Incorrect API key provided: {KEY}"), (400, "API key not valid."), (401, "")],
)
async def test_a_key_that_its_provider_refuses_is_not_saved(
    ada: httpx2.AsyncClient, provider: Provider, status: int, message: str
) -> None:
    provider.listed = status, {"error": {"message": message}}
    refused = await ada.put("/api/model", json={"provider": "openai", "model": "m", "key": KEY})

    assert (refused.status_code, refused.json()["code"]) == (422, "key-refused")
    assert KEY not in refused.text
    assert (await ada.get("/api/model")).json()["demo"] is True


@pytest.mark.parametrize(
    ("status", "body"),
    [(500, {}), (404, {}), (403, {"error": "Missing scopes: api.model.read"}), (429, {}),
     (402, {"error": "no credit"}), (301, {})],
)  # fmt: skip
async def test_a_key_is_saved_when_its_provider_cannot_tell(
    ada: httpx2.AsyncClient, provider: Provider, status: int, body: dict[str, str]
) -> None:
    provider.listed = status, body
    saved = await ada.put("/api/model", json={"provider": "openai", "model": "m", "key": KEY})

    assert (saved.status_code, saved.json()["keyCheck"]) == (200, "unchecked")


async def test_a_model_without_a_new_key_is_not_checked(
    ada: httpx2.AsyncClient, provider: Provider
) -> None:
    await ada.put("/api/model", json={"provider": "openai", "model": "m", "key": KEY})
    again = await ada.put("/api/model", json={"provider": "openai", "model": "n"})

    assert again.json()["keyCheck"] is None
    assert len(provider.looked_up) == 1


async def models(browser: httpx2.AsyncClient, query: str) -> dict[str, object]:
    answer = await browser.get(f"/api/model/models?{query}")
    assert answer.status_code == 200, answer.text
    found: dict[str, object] = answer.json()
    return found


async def test_the_models_of_a_key_are_listed_and_searched(
    ada: httpx2.AsyncClient, provider: Provider
) -> None:
    provider.models = ["models/gemini-3", "Gemma-3 x", "gemma-3-it", "x" * 129, "", "Gemini-4-pro"]
    await ada.put("/api/model", json={"provider": "google", "model": "m", "key": KEY})

    listed = await models(ada, "provider=google")
    assert listed == {
        "models": ["Gemini-4-pro", "gemini-3", "gemma-3-it"], "more": False, "problem": None,
    }  # fmt: skip
    assert (await models(ada, "provider=google&search=PRO%20gem"))["models"] == ["Gemini-4-pro"]
    assert len(provider.looked_up) == 2  # the check, and one list


async def test_a_long_list_is_cut_and_says_so(ada: httpx2.AsyncClient, provider: Provider) -> None:
    provider.models = [f"model-{n:04}" for n in range(450)]
    await ada.put("/api/model", json={"provider": "openai", "model": "m", "key": KEY})
    found = await models(ada, "provider=openai&search=model")

    assert found["more"] is True
    assert found["models"] == provider.models[:200]


async def test_without_a_key_there_are_suggestions(ada: httpx2.AsyncClient) -> None:
    for one in PROVIDERS.values():
        found = await models(ada, f"provider={one.id}")
        assert found == {"models": list(one.suggestions), "more": False, "problem": None}


@pytest.mark.parametrize(
    ("status", "listed"),
    [(500, {"error": {"message": "no"}}), (200, {"data": []}), (200, {"data": "x"}), (200, {}),
     (401, {"error": {"message": f"Wrong key {KEY}"}}), (200, {"data": [5, {"id": 5}, {}]})],
)  # fmt: skip
async def test_a_list_that_is_none_gives_suggestions_and_why(
    ada: httpx2.AsyncClient, provider: Provider, status: int, listed: dict[str, object]
) -> None:
    await ada.put("/api/model", json={"provider": "openai", "model": "m", "key": KEY})
    provider.listed = status, listed
    found = await models(ada, "provider=openai")

    assert found["models"] == list(PROVIDERS[ProviderId.OPENAI].suggestions)
    assert "OpenAI" in str(found["problem"])
    assert KEY not in str(found)


async def test_a_list_is_of_ones_own_key(
    ada: httpx2.AsyncClient, sign_in: SignIn, provider: Provider
) -> None:
    await ada.put("/api/model", json={"provider": "openai", "model": "m", "key": KEY})
    await models(ada, "provider=openai")
    bob = await sign_in("bob@example.com")

    assert (await models(bob, "provider=openai"))["models"] == list(
        PROVIDERS[ProviderId.OPENAI].suggestions
    )
