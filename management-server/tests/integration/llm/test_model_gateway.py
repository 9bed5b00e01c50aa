"""`/llm` between an agent and a real HTTP server that stands for the provider."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import date
from typing import Any

import pytest
from fastapi import FastAPI
from ocmt_management.audit.models import AuditEvent
from ocmt_management.llm.concurrency import MAX_BYTES_PER_USER, MAX_PER_USER
from ocmt_management.llm.models import Usage
from ocmt_management.vault.service import Vault
from ocmt_testing.management.people import Person, until
from ocmt_testing.management.provider import Provider, openai_chunks
from sqlalchemy import select

KEY = "sk-adas-own-key-0123456789"
BOBS_KEY = "sk-bobs-own-key-0123456789"
MESSAGES = [{"role": "user", "content": "hello"}]


@pytest.fixture(autouse=True)
def keys_are_secret(seen_secrets: set[str]) -> None:
    seen_secrets.update({KEY, BOBS_KEY})


def asking(**changes: Any) -> dict[str, Any]:
    return {"model": "default", "messages": MESSAGES, "stream": True, **changes}


async def test_the_demo_answers_without_any_key(ada: Person, provider: Provider) -> None:
    streamed = await ada.agent.post("/chat/completions", json=asking())
    whole = await ada.agent.post("/chat/completions", json=asking(stream=False))

    assert streamed.headers["content-type"].startswith("text/event-stream")
    assert streamed.text.endswith("data: [DONE]\n\n")
    assert "> hello" in whole.json()["choices"][0]["message"]["content"]
    assert provider.asked == []


async def test_the_users_model_and_key_replace_the_agents(ada: Person, provider: Provider) -> None:
    await ada.choose("openai", "gpt-x", KEY)
    provider.chunks = openai_chunks("Hel", "lo")

    answer = await ada.agent.post(
        "/chat/completions",
        json=asking(tools=[{"type": "function"}], temperature=0.5),
        headers={"x-api-key": "mine", "cookie": "a=b", "x-forwarded-for": "1.2.3.4"},
    )

    assert answer.content == b"".join(provider.chunks)
    asked = provider.asked[0]
    assert asked.path == "/openai/v1/chat/completions"
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert ada.token not in str(asked)
    assert not {"x-api-key", "cookie", "x-forwarded-for"} & set(asked.headers)
    assert asked.body == {
        **asking(tools=[{"type": "function"}], temperature=0.5),
        "model": "gpt-x",
        "stream_options": {"include_usage": True},
    }


@pytest.mark.parametrize(
    ("named", "asked_for"),
    [("default", "gpt-x"), ("ocmt/default", "gpt-x"), ("gpt-other", "gpt-other")],
)
async def test_only_the_stand_in_name_is_replaced(
    ada: Person, provider: Provider, named: str, asked_for: str
) -> None:
    await ada.choose("openai", "gpt-x", KEY)
    await ada.agent.post("/chat/completions", json=asking(model=named, stream=False))

    assert provider.asked[0].body["model"] == asked_for
    assert "stream_options" not in provider.asked[0].body


@pytest.mark.parametrize(
    ("chosen", "path", "asked_path"),
    [
        ("anthropic", "/chat/completions", "/anthropic/v1/chat/completions"),
        ("anthropic", "/messages", "/anthropic/v1/messages"),
        ("openrouter", "/chat/completions", "/openrouter/v1/chat/completions"),
    ],
)
async def test_each_provider_is_asked_where_and_how_it_wants(
    ada: Person, provider: Provider, chosen: str, path: str, asked_path: str
) -> None:
    await ada.choose(chosen, "some-model", KEY)
    await ada.agent.post(path, json=asking(), headers={"anthropic-beta": "x"})

    asked = provider.asked[0]
    assert asked.path == asked_path
    credentials = {
        n: asked.headers[n] for n in ("authorization", "x-api-key") if n in asked.headers
    }
    if path == "/messages":
        assert credentials == {"x-api-key": KEY}
    else:
        assert credentials == {"authorization": f"Bearer {KEY}"}
    if path == "/messages":
        assert asked.headers["anthropic-version"] == "2023-06-01"
        assert asked.headers["anthropic-beta"] == "x"
        assert "stream_options" not in asked.body


async def test_a_version_that_is_no_plain_text_is_not_passed_on(
    ada: Person, provider: Provider
) -> None:
    await ada.choose("anthropic", "some-model", KEY)
    odd = {b"anthropic-version": b"\xff", b"anthropic-beta": b"\xc3\xa9"}
    answer = await ada.agent.post("/messages", json=asking(stream=False), headers=odd)

    assert answer.status_code == 200
    assert provider.asked[0].headers["anthropic-version"] == "2023-06-01"
    assert "anthropic-beta" not in provider.asked[0].headers


async def test_a_provider_without_the_messages_shape_is_not_asked(
    ada: Person, provider: Provider
) -> None:
    await ada.choose("openai", "gpt-x", KEY)
    refused = await ada.agent.post("/messages", json=asking())

    assert refused.status_code == 424
    assert refused.json()["type"] == "error"
    assert refused.json()["error"]["code"] == "model-changed"
    assert provider.asked == []


async def test_each_chunk_is_passed_on_before_the_next_one_comes(
    ada: Person, provider: Provider
) -> None:
    await ada.choose("openai", "gpt-x", KEY)
    provider.chunks = openai_chunks("one", "two", "three")
    provider.go_on = asyncio.Queue()

    async with ada.agent.stream("POST", "/chat/completions", json=asking()) as answer:
        received = answer.aiter_raw()
        # The provider sends a chunk only after the one before it has arrived here.
        for chunk in provider.chunks:
            assert await anext(received) == chunk
            provider.go_on.put_nowait(None)


async def test_a_caller_that_leaves_ends_the_request_to_the_provider(
    ada: Person, provider: Provider
) -> None:
    await ada.choose("openai", "gpt-x", KEY)
    provider.chunks = openai_chunks("one", "two")
    provider.go_on = asyncio.Queue()

    async with ada.agent.stream("POST", "/chat/completions", json=asking()) as answer:
        await anext(answer.aiter_raw())

    async with asyncio.timeout(60):
        await provider.left.wait()


async def test_a_caller_that_leaves_while_the_model_thinks_ends_the_request_too(
    ada: Person, provider: Provider
) -> None:
    await ada.choose("openai", "gpt-x", KEY)
    provider.silent = True

    asking_long = asyncio.create_task(ada.agent.post("/chat/completions", json=asking()))
    async with asyncio.timeout(60):
        await provider.thinking.wait()
        asking_long.cancel()
        await provider.left.wait()
    await asyncio.gather(asking_long, return_exceptions=True)


async def test_one_agent_does_not_take_every_place_from_the_others(
    app: FastAPI, ada: Person, person: Callable[[str], Awaitable[Person]], provider: Provider
) -> None:
    bob = await person("bob")
    await ada.choose("openai", "gpt-x", KEY)
    provider.silent = True
    asked = [
        asyncio.create_task(ada.agent.post("/chat/completions", json=asking()))
        for _ in range(MAX_PER_USER)
    ]
    await until(lambda: len(provider.asked) == MAX_PER_USER)

    refused = await ada.agent.post("/chat/completions", json=asking())
    assert refused.status_code == 429
    assert refused.json()["code"] == "too-many-at-once"
    assert refused.headers["retry-after"] == "1"
    assert (await bob.agent.post("/chat/completions", json=asking())).status_code == 200

    for one in asked:
        one.cancel()
    await asyncio.gather(*asked, return_exceptions=True)
    await until(lambda: not app.state.llm.request_limits._requests)
    assert (await ada.agent.post("/chat/completions", content=b"{")).status_code == 400
    assert not app.state.llm.request_limits._requests


@pytest.mark.parametrize("status", [400, 404, 429, 500, 529])
async def test_a_providers_refusal_passes_with_status_and_body(
    ada: Person, provider: Provider, status: int
) -> None:
    await ada.choose("openai", "gpt-x", KEY)
    provider.status = status
    provider.error = {"error": {"message": f"no, because of {KEY}", "code": "why"}}
    provider.headers = {"retry-after": "7", "set-cookie": "a=b", "openai-organization": "ada-inc"}

    refused = await ada.agent.post("/chat/completions", json=asking())

    assert refused.status_code == status
    assert refused.json()["error"] == {"message": "no, because of •••", "code": "why"}
    assert refused.headers["retry-after"] == "7"
    assert not {"set-cookie", "openai-organization"} & set(refused.headers)


@pytest.mark.parametrize(
    ("status", "error", "code"),
    [
        (401, {"message": f"Incorrect API key provided: {KEY}"}, "provider-refused-key"),
        (402, {"message": "Payment required"}, "provider-unpaid"),
        (403, {"message": "Forbidden"}, "provider-refused-key"),
        (429, {"message": "over quota", "code": "insufficient_quota"}, "provider-unpaid"),
    ],
)
async def test_a_refused_key_is_told_as_a_424_that_does_not_shut_the_provider_out(
    ada: Person, provider: Provider, status: int, error: dict[str, str], code: str
) -> None:
    await ada.choose("openai", "gpt-x", KEY)
    provider.status, provider.error = status, {"error": error}

    refused = await ada.agent.post("/chat/completions", json=asking())

    assert (refused.status_code, refused.json()["code"]) == (424, code)
    assert KEY not in refused.text


async def test_a_key_put_right_works_at_once(ada: Person, provider: Provider) -> None:
    await ada.choose("openai", "gpt-x", BOBS_KEY)
    await ada.agent.post("/chat/completions", json=asking())
    await ada.choose("openai", "gpt-x", KEY)
    await ada.agent.post("/chat/completions", json=asking())

    sent = [asked.headers["authorization"] for asked in provider.asked]
    assert sent == [f"Bearer {BOBS_KEY}", f"Bearer {KEY}"]


async def test_an_unreachable_provider_is_a_502_with_the_cure(
    ada: Person, provider: Provider
) -> None:
    await ada.choose("openai", "gpt-x", KEY)
    await provider.server.stop()

    refused = await ada.agent.post("/chat/completions", json=asking())

    assert refused.status_code == 502
    assert refused.json()["error"]["code"] == "provider-unreachable"
    assert "OPENAI_BASE_URL" in refused.json()["error"]["message"]


async def test_a_provider_that_redirects_gets_no_key_elsewhere(
    ada: Person, provider: Provider
) -> None:
    await ada.choose("openai", "gpt-x", KEY)
    provider.status, provider.error = 307, {}
    provider.headers = {"location": f"{provider.server.url}/elsewhere"}

    refused = await ada.agent.post("/chat/completions", json=asking())

    assert (refused.status_code, refused.json()["code"]) == (502, "provider-unreachable")
    assert len(provider.asked) == 1


@pytest.mark.parametrize("shape", ["/chat/completions", "/messages"])
async def test_an_answer_that_breaks_off_ends_in_an_error(
    ada: Person, provider: Provider, shape: str, caplog: pytest.LogCaptureFixture
) -> None:
    await ada.choose("anthropic", "some-model", KEY)
    provider.chunks, provider.break_off = openai_chunks("one")[:1], True

    answer = await ada.agent.post(shape, json=asking())

    last = answer.text.removesuffix("\n\n").rsplit("\n\n", 1)[1]
    assert last.startswith("event: error\n") == (shape == "/messages")
    assert json.loads(last.split("data: ")[1])["error"]["code"] == "provider-lost"


async def usage_of(app: FastAPI, user_id: str) -> list[tuple[Any, ...]]:
    await app.state.llm.usage.write()
    return await written(app, user_id)


async def written(app: FastAPI, user_id: str) -> list[tuple[Any, ...]]:
    async with app.state.database.read() as session:
        rows = await session.scalars(select(Usage).where(Usage.user_id == user_id))
        return [
            (u.day, u.provider, u.model, u.requests, u.estimated, u.tokens_in, u.tokens_out)
            for u in rows
        ]


async def test_what_was_used_is_counted_by_user_day_and_model(
    app: FastAPI, ada: Person, provider: Provider
) -> None:
    await ada.choose("openai", "gpt-x", KEY)
    provider.chunks = openai_chunks("Hello", usage=(12, 3))
    await ada.agent.post("/chat/completions", json=asking())
    await ada.agent.post("/chat/completions", json=asking(stream=False))
    provider.status, provider.error = 500, {"error": {"message": "no"}}
    await ada.agent.post("/chat/completions", json=asking(model="made-up"))

    today = date(2026, 11, 23)
    assert await usage_of(app, ada.id) == [(today, "openai", "gpt-x", 3, 0, 23, 10)]


async def test_counts_survive_a_database_that_is_away(
    app: FastAPI, ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ada.agent.post("/chat/completions", json=asking(stream=False))
    usage = app.state.llm.usage
    with monkeypatch.context() as patched:
        patched.setattr(usage._database, "write", None)
        with pytest.raises(TypeError):
            await usage.write()
    await ada.agent.post("/chat/completions", json=asking(stream=False))

    assert [row[3] for row in await usage_of(app, ada.id)] == [2]


async def test_usage_that_could_not_be_written_is_written_later(
    app: FastAPI, ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = app.state.llm.usage
    await ada.agent.post("/chat/completions", json=asking(stream=False))
    with monkeypatch.context() as patched:
        patched.setattr(usage._database, "write", None)
        with pytest.raises(TypeError):
            await usage.write()
    assert [row[3] for row in await usage_of(app, ada.id)] == [1]


async def test_nobodys_agent_gets_anybody_elses_key(
    ada: Person, person: Callable[[str], Awaitable[Person]], provider: Provider
) -> None:
    bob = await person("bob")
    await ada.choose("openai", "gpt-x", KEY)
    await bob.choose("openai", "gpt-y", BOBS_KEY)
    await asyncio.gather(
        *(one.agent.post("/chat/completions", json=asking(user=one.id)) for one in [ada, bob] * 5)
    )

    keys = {asked.body["user"]: asked.headers["authorization"] for asked in provider.asked}
    assert keys == {ada.id: f"Bearer {KEY}", bob.id: f"Bearer {BOBS_KEY}"}
    assert {a.body["model"] for a in provider.asked if a.body["user"] == bob.id} == {"gpt-y"}


async def test_without_an_agents_token_there_is_a_401(ada: Person) -> None:
    ada.agent.headers.pop("authorization")
    credentials = ["", "Bearer", f"Basic {ada.token}", ada.token]
    for path in ("/chat/completions", "/messages", "/models"):
        method = "GET" if path == "/models" else "POST"
        for headers in [{}, *({"authorization": one} for one in credentials)]:
            refused = await ada.agent.request(method, path, json=asking(), headers=headers)

            assert refused.status_code == 401, (path, headers)
            assert refused.json()["error"]["message"] == refused.json()["detail"]


@pytest.mark.parametrize("token", ["x", "x" * 43, "x" * 5000])
async def test_a_token_of_no_agent_is_a_424_which_openclaw_forgets(ada: Person, token: str) -> None:
    for method, path in (("GET", "/models"), ("POST", "/chat/completions"), ("POST", "/messages")):
        refused = await ada.agent.request(
            method, path, json=asking(), headers={"authorization": f"Bearer {token}"}
        )

        assert (refused.status_code, refused.json()["code"]) == (424, "agent-token-wrong")


async def test_a_session_is_no_agents_token(ada: Person) -> None:
    assert (await ada.browser.get("/llm/v1/models")).status_code == 401


async def test_a_suspended_users_agent_is_refused(
    ada: Person, person: Callable[[str], Awaitable[Person]]
) -> None:
    bob = await person("bob")
    assert (await bob.agent.get("/models")).json()["data"][0]["id"] == "default"

    await ada.browser.patch(f"/api/admin/users/{bob.id}", json={"status": "suspended"})

    assert (await bob.agent.get("/models")).status_code == 424


async def test_a_renewed_token_ends_the_old_one(ada: Person) -> None:
    await ada.browser.post(f"/api/admin/agents/{ada.id}/token")

    assert (await ada.agent.post("/chat/completions", json=asking())).status_code == 424


async def test_a_request_that_is_none_is_a_400(ada: Person) -> None:
    for body, code in {
        b"": "not-json",
        b"{": "not-json",
        b"\xff": "not-json",
        b"[" * 100_000: "not-json",
        b"[]": "not-json",
        b"{}": "no-messages",
        b'{"messages":{}}': "no-messages",
        b'{"messages":[],"model":5}': "no-model",
        b'{"messages":[],"model":""}': "no-model",
        b'{"messages":[],"model":"\\ud800"}': "no-model",
        b'{"messages":[],"model":"\\u0000"}': "no-model",
        b'{"messages":[],"model":"' + b"x" * 129 + b'"}': "no-model",
    }.items():
        refused = await ada.agent.post("/chat/completions", content=body)

        assert (refused.status_code, refused.json()["error"]["code"]) == (400, code), body[:20]


async def test_odd_messages_do_not_upset_the_demo(ada: Person) -> None:
    for messages in ([], [None], [5, "x"], [{"role": "user", "content": 5}]):
        answer = await ada.agent.post("/chat/completions", json=asking(messages=messages))

        assert answer.status_code == 200, messages


async def test_a_body_above_32_mib_is_a_413(ada: Person) -> None:
    body = b'{"messages":"' + b"x" * (32 * 1024 * 1024) + b'"}'
    refused = await ada.agent.post("/chat/completions", content=body)

    assert refused.status_code == 413


async def test_a_picture_of_many_megabytes_passes(ada: Person, provider: Provider) -> None:
    await ada.choose("openai", "gpt-x", KEY)
    picture = {"role": "user", "content": [{"type": "image_url", "image_url": "x" * 8_000_000}]}
    answer = await ada.agent.post("/chat/completions", json=asking(messages=[picture]))

    assert answer.status_code == 200
    assert provider.asked[0].body["messages"] == [picture]


async def test_the_uses_of_a_key_are_audited(
    app: FastAPI, ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ocmt_management.llm.usage_recorder._WRITE_EVERY_S", 3600)
    await ada.choose("openai", "gpt-x", KEY)
    for _ in range(3):
        await ada.agent.post("/chat/completions", json=asking())
    await app.state.llm.usage.write()

    async with app.state.database.read() as session:
        rows = await session.scalars(select(AuditEvent).where(AuditEvent.action == "secret.read"))
        uses = [(row.user_id, row.actor, row.subject, row.detail) for row in rows]
    assert uses == [(ada.id, "agent", "model:openai", "3 requests for gpt-x")]


async def test_a_vault_without_the_key_is_a_424_not_a_crash(
    app: FastAPI, ada: Person, provider: Provider
) -> None:
    await ada.choose("openai", "gpt-x", KEY)
    async with app.state.database.write() as session:
        state = app.state
        await Vault(session, state.vault_keys, state.clock).delete(
            ada.id, "model:openai", actor="test"
        )

    refused = await ada.agent.post("/chat/completions", json=asking())

    assert (refused.status_code, refused.json()["code"]) == (424, "key-missing")
    assert provider.asked == []


MIB = 1024 * 1024
# Made when they are used: each is of 28 MiB.
LARGE: dict[str, Callable[[], bytes]] = {
    "objects": lambda: b'{"model":"default","messages":[' + b"{}," * (28 * MIB // 3) + b"{}]}",
    "lists": lambda: b'{"model":"default","messages":[' + b"[1,2]," * (28 * MIB // 6) + b"1]}",
    "texts": lambda: b'{"model":"default","messages":[' + b'"\\u00e9",' * (28 * MIB // 9) + b"1]}",
    "members": lambda: (
        b'{"messages":[],' + b",".join(b'"%d":1' % n for n in range(2_500_000)) + b"}"
    ),
    "a model": lambda: b'{"messages":[],"model":[' + b"{}," * (28 * MIB // 3) + b"{}]}",
    "options": lambda: (
        b'{"messages":[],"stream":true,"stream_options":{"a":[' + b"{}," * (9 * MIB) + b"{}]}}"
    ),
}


@pytest.mark.parametrize("kind", LARGE)
async def test_no_body_of_one_agent_holds_up_the_others(
    ada: Any, provider: Provider, kind: str
) -> None:
    body = LARGE[kind]()
    await ada.choose("openai", "gpt-x", KEY)
    provider.unread = True
    longest_ms = 0.0

    async def look() -> None:
        """How long the event loop, which client and provider share here, is blocked."""
        nonlocal longest_ms
        before = time.thread_time()
        while True:
            await asyncio.sleep(0)
            now = time.thread_time()
            longest_ms, before = max(longest_ms, (now - before) * 1000), now

    looking = asyncio.create_task(look())
    answer = await ada.agent.post("/chat/completions", content=body)
    looking.cancel()

    assert answer.status_code in (200, 400)
    assert longest_ms < 300  # a parse into objects took four seconds


async def test_what_is_passed_on_is_as_it_was_written(ada: Any, provider: Provider) -> None:
    await ada.choose("openai", "gpt-x", KEY)
    messages = b'[ {"role" : "user", "content":"1.0 \\u00e9 \xc3\xa9", "n": 1.50e3} ]'
    await ada.agent.post(
        "/chat/completions", content=b'{"messages": ' + messages + b', "model":"default","x":1.0}'
    )

    assert provider.asked[0].written == b'{"messages":' + messages + b',"model":"gpt-x","x":1.0}'


@pytest.mark.parametrize("text", ["a\\ud83d", "\\uDE00", "\\ud83d\\n"])
async def test_half_a_character_in_a_conversation_passes(
    ada: Any, provider: Provider, text: str
) -> None:
    content = f'{{"model":"default","messages":[{{"role":"user","content":"{text}"}}]}}'
    demo = await ada.agent.post("/chat/completions", content=content.encode())
    await ada.choose("openai", "gpt-x", KEY)
    await ada.agent.post("/chat/completions", content=content.encode())

    assert demo.status_code == 200
    assert "\ufffd" in provider.asked[0].body["messages"][0]["content"]


@pytest.mark.parametrize(
    "messages",
    [b"[" + b"{}," * 60_000 + b"1]", b'["\xff"]', b"[" * 2000 + b"]" * 2000],
    ids=["many", "no text", "deep"],
)
async def test_the_demo_refuses_what_it_cannot_read(ada: Any, messages: bytes) -> None:
    refused = await ada.agent.post("/chat/completions", content=b'{"messages":' + messages + b"}")

    assert refused.status_code == 400
    assert refused.json()["code"] in ("demo-cannot-read", "not-json")


async def test_one_agent_holds_so_many_bytes_at_once(
    app: FastAPI, ada: Any, person: Callable[[str], Awaitable[Any]], provider: Provider
) -> None:
    bob = await person("bob")
    await ada.choose("openai", "gpt-x", KEY)
    provider.silent = True
    large = json.dumps(asking(pad="x" * (MAX_BYTES_PER_USER // 3))).encode()
    asked = []
    for _ in range(2):
        asked.append(asyncio.create_task(ada.agent.post("/chat/completions", content=large)))
        await until(lambda: len(provider.asked) == len(asked))

    refused = await ada.agent.post("/chat/completions", content=large)
    assert (refused.status_code, refused.json()["code"]) == (429, "too-much-at-once")
    assert refused.headers["retry-after"] == "1"
    assert (await bob.agent.post("/chat/completions", json=asking())).status_code == 200

    for one in asked:
        one.cancel()
    await asyncio.gather(*asked, return_exceptions=True)
    await until(lambda: not app.state.llm.request_limits._bytes_held)


async def test_a_caller_that_leaves_in_the_middle_of_its_body_is_no_crash(
    app: FastAPI, ada: Any, caplog: pytest.LogCaptureFixture
) -> None:
    leaving = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b'{"messages":['
        leaving.set()
        await asyncio.Event().wait()

    asking = asyncio.create_task(ada.agent.post("/chat/completions", content=body()))
    await leaving.wait()
    await until(lambda: app.state.llm.request_limits._bytes_held[ada.id] > 0)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await until(lambda: not app.state.llm.request_limits._requests)
    assert "crashed" not in caplog.text
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize(
    "cookie",
    ["__cf_bm=one-client", "ocmt_session=evil; Path=/", "a=b; Domain=127.0.0.1; Max-Age=60"],
)
@pytest.mark.parametrize("status", [200, 500])
async def test_a_providers_cookie_goes_nowhere(
    ada: Any,
    person: Callable[[str], Awaitable[Any]],
    provider: Provider,
    cookie: str,
    status: int,
) -> None:
    bob = await person("bob")
    provider.headers = {"set-cookie": cookie}
    if status != 200:
        provider.status, provider.error = status, {"error": {"message": "no"}}
    for one in (ada, bob, ada):
        await one.choose("openai", "gpt-x", KEY)
        answer = await one.agent.post("/chat/completions", json=asking(stream=False))
        assert "set-cookie" not in answer.headers

    assert [asked.headers.get("cookie") for asked in provider.asked] == [None] * 3
