"""A server of OpenAI's shape that a user gives the address of, dialled with the address check."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from ocmt_management.settings import ManagementSettings
from ocmt_testing.management.people import Person
from ocmt_testing.management.provider import Provider, openai_chunks

KEY = "local-key-0123456789-abcd"


@pytest.fixture
def settings(
    make_settings: Callable[..., ManagementSettings], its_settings: dict[str, str]
) -> ManagementSettings:
    return make_settings(private_hosts="127.0.0.1", **its_settings)


def own(person: Person, **body: Any) -> Awaitable[httpx2.Response]:
    return person.browser.put("/api/model", json={"provider": "own", "model": "llama3", **body})


def asking(**changes: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "hello"}], "stream": True, **changes}


async def view(person: Person) -> dict[str, Any]:
    answer = (await person.browser.get("/api/model")).json()
    found: dict[str, Any] = next(one for one in answer["providers"] if one["id"] == "own")
    return found | {"usable": answer["usable"]}


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/", "/v1/chat/completions", "/v1/models"])
async def test_it_answers_without_a_key(
    app: FastAPI, ada: Person, provider: Provider, path: str
) -> None:
    provider.chunks = openai_chunks("Dear ", "answer.")
    chosen = await own(ada, url=f"{provider.server.url}{path}")

    assert (chosen.status_code, chosen.json()["keyCheck"]) == (200, "ok")
    assert (await view(ada))["url"] == f"{provider.server.url}/v1"
    answer = await ada.agent.post("/chat/completions", json=asking())
    assert answer.text == b"".join(provider.chunks).decode()
    (seen,) = provider.asked
    assert seen.path == "/v1/chat/completions"
    assert "authorization" not in seen.headers
    assert seen.body["model"] == "llama3"
    await app.state.llm.usage.write()
    (row,) = (await ada.browser.get("/api/usage")).json()["rows"]
    assert (row["provider"], row["tokensIn"], row["costUsd"]) == ("own", 12, None)


async def test_its_key_and_its_models(ada: Person, provider: Provider) -> None:
    provider.chunks = openai_chunks("Hi")
    assert (await own(ada, url=provider.server.url, key=KEY)).status_code == 200

    listed = await ada.browser.get("/api/model/models", params={"provider": "own"})
    assert listed.json() == {"models": ["model-a", "model-b"], "more": False, "problem": None}
    await ada.agent.post("/chat/completions", json=asking())
    assert provider.asked[0].headers["authorization"] == f"Bearer {KEY}"
    assert {one.headers["authorization"] for one in provider.looked_up} == {f"Bearer {KEY}"}


async def test_a_key_goes_to_no_other_server_than_its_own(ada: Person, provider: Provider) -> None:
    await own(ada, url=provider.server.url, key=KEY)
    provider.looked_up.clear()

    await own(ada, url=f"{provider.server.url}/other/v1")
    await ada.agent.post("/chat/completions", json=asking(stream=False))

    seen = [*provider.asked, *provider.looked_up]
    assert len(seen) == 2
    assert not any("authorization" in one.headers for one in seen)
    assert not (await view(ada))["keySet"]


async def test_another_model_keeps_the_server_and_its_key(ada: Person, provider: Provider) -> None:
    await own(ada, url=provider.server.url, key=KEY)
    assert (
        await ada.browser.put("/api/model", json={"provider": "demo", "model": "demo"})
    ).is_success
    assert (await own(ada, model="qwen3")).status_code == 200

    await ada.agent.post("/chat/completions", json=asking(stream=False))

    assert provider.asked[0].headers["authorization"] == f"Bearer {KEY}"
    assert provider.asked[0].body["model"] == "qwen3"


async def test_removing_it_gives_way_to_the_demo(ada: Person, provider: Provider) -> None:
    await own(ada, url=provider.server.url)
    assert (await ada.browser.delete("/api/model/keys/own")).status_code == 204
    assert (await view(ada))["url"] is None
    assert (await ada.browser.get("/api/model")).json()["demo"] is True
    assert (await ada.browser.delete("/api/model/keys/own")).status_code == 404


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://169.254.169.254/v1", "url-insecure"),
        ("https://169.254.169.254/v1", "address-refused"),
        ("https://10.0.0.7:11434/v1", "address-refused"),
        ("https://[::1]/v1", "address-refused"),
        ("https://localhost/v1", "address-refused"),
        ("https://2130706433/v1", "address-refused"),
        ("http://models.example.com/v1", "url-insecure"),
        ("ftp://127.0.0.1/v1", "url-invalid"),
        ("https://ada:secret@127.0.0.1/v1", "url-invalid"),
        ("https://127.0.0.1/v1?key=1", "url-invalid"),
        ("127.0.0.1:11434", "url-invalid"),
    ],
)
async def test_an_address_that_may_not_be_used_is_not_saved(
    ada: Person, url: str, code: str
) -> None:
    refused = await own(ada, url=url)

    assert (refused.status_code, refused.json()["code"]) == (422, code)
    assert (await view(ada))["url"] is None
    assert (await ada.browser.get("/api/model")).json()["demo"] is True


async def test_without_an_address_there_is_none_to_choose(ada: Person) -> None:
    refused = await own(ada)
    assert (refused.status_code, refused.json()["code"]) == (422, "url-missing")
    refused = await ada.browser.put(
        "/api/model",
        json={"provider": "openai", "model": "m", "key": KEY, "url": "https://a.example"},
    )
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid-request")


async def test_a_host_that_is_no_longer_allowed_is_told_so_in_the_chat(
    app: FastAPI, ada: Person, provider: Provider
) -> None:
    await own(ada, url=provider.server.url)
    app.state.llm._outbound_http._transport._client._allowed_hosts = frozenset()

    refused = await ada.agent.post("/chat/completions", json=asking())

    assert (refused.status_code, refused.json()["error"]["code"]) == (424, "address-refused")
    assert "PRIVATE_HOSTS" in refused.json()["detail"]
    assert provider.asked == []


async def test_a_server_that_is_away_is_saved_and_said_to_be_so(ada: Person) -> None:
    chosen = await own(ada, url="http://127.0.0.1:9/v1")
    assert (chosen.status_code, chosen.json()["keyCheck"]) == (200, "unchecked")

    answer = await ada.agent.post("/chat/completions", json=asking())

    assert answer.status_code == 502
    assert "Own server cannot be reached" in answer.json()["detail"]
    listed = (await ada.browser.get("/api/model/models", params={"provider": "own"})).json()
    assert listed["models"] == []
    assert "cannot be reached" in listed["problem"]


@pytest.mark.parametrize("stream", [True, False])
async def test_a_break_in_the_middle_is_an_error(
    ada: Person, provider: Provider, stream: bool
) -> None:
    await own(ada, url=provider.server.url)
    provider.chunks, provider.break_off = openai_chunks("Dear ", "answer.")[:1], True
    if not stream:
        provider.error, provider.status = {"error": {"message": "no such model"}}, 404

    answer = await ada.agent.post("/chat/completions", json=asking(stream=stream))

    assert ("provider-lost" if stream else "no such model") in answer.text
