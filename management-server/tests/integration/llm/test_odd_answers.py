"""Answers as servers give them beside the documented one: each is understood, or is an error."""

import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any

import brotli
import pytest
from backports import zstd
from fastapi import FastAPI
from ocmt_management.llm.models import Usage
from ocmt_testing.management.people import Person
from ocmt_testing.management.provider import Provider, openai_chunks
from ocmt_testing.management.provider_refusals import REFUSALS, Refusal
from sqlalchemy import select

KEY = "sk-adas-own-key-0123456789"
CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "br": brotli.compress,
    "zstd": zstd.compress,
    "deflate": zlib.compress,
    "GZip": gzip.compress,
}
IN_ANSWERS = [refusal for refusal in REFUSALS if refusal.status is None]


@pytest.fixture
async def openai(ada: Person, provider: Provider, seen_secrets: set[str]) -> Person:
    seen_secrets.add(KEY)
    await ada.choose("openai", "gpt-x", KEY)
    provider.chunks = openai_chunks("Hel", "lo")
    return ada


def asking(**changes: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "hello"}], "stream": True, **changes}


async def tokens(app: FastAPI, user_id: str) -> tuple[int, int, int]:
    await app.state.llm.usage.write()
    async with app.state.database.read() as session:
        row = (await session.scalars(select(Usage).where(Usage.user_id == user_id))).one()
        return row.requests, row.tokens_in, row.tokens_out


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("stream", [True, False])
async def test_a_compressed_answer_is_passed_on_plain(
    app: FastAPI, openai: Person, provider: Provider, coding: str, stream: bool
) -> None:
    plain = b"".join(provider.chunks) if stream else json.dumps({"usage": {
        "prompt_tokens": 12, "completion_tokens": 3}}).encode()  # fmt: skip
    packed = CODINGS[coding](plain)
    provider.chunks = [packed[:7], packed[7:]]
    provider.headers = {"content-encoding": coding}
    provider.media_type = "text/event-stream" if stream else "application/json"

    answer = await openai.agent.post("/chat/completions", json=asking())

    assert answer.content == plain
    assert "content-encoding" not in answer.headers
    assert await tokens(app, openai.id) == (1, 12, 3)


@pytest.mark.parametrize(
    ("coding", "content"), [("gzip", b"no gzip"), ("compress", b"\x1f\x9d"), ("br", b"\xff" * 40)]
)
async def test_garbage_is_an_error_and_not_passed_on(
    openai: Person, provider: Provider, coding: str, content: bytes
) -> None:
    provider.chunks = [content]
    provider.headers = {"content-encoding": coding}
    provider.media_type = "application/json"

    first = await openai.agent.post("/chat/completions", json=asking())
    second = await openai.agent.post("/chat/completions", json=asking())

    assert first.status_code == 502
    assert first.json()["code"] in ("provider-garbled", "provider-lost", "provider-unreachable")
    # OpenClaw repeats a 502 for 90 seconds, and a 424 not at all.
    assert second.status_code == 424
    assert second.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("media_type", ["text/html", "text/plain", "application/octet-stream"])
@pytest.mark.parametrize("content", [b"<html>Log in</html>", b"\x1f\x8b\x08\x00", b"OK"])
async def test_what_is_no_answer_of_a_model_is_an_error(
    openai: Person, provider: Provider, media_type: str, content: bytes
) -> None:
    provider.chunks, provider.media_type = [content], media_type

    answer = await openai.agent.post("/chat/completions", json=asking())

    assert (answer.status_code, answer.json()["code"]) == (502, "provider-garbled")


@pytest.mark.parametrize("status", [400, 422])
async def test_a_server_that_refuses_stream_options_is_asked_without(
    app: FastAPI, openai: Person, provider: Provider, status: int
) -> None:
    provider.strict, provider.status = True, status

    first = await openai.agent.post("/chat/completions", json=asking())
    again = await openai.agent.post(
        "/chat/completions", json=asking(stream_options={"include_usage": True})
    )

    assert first.content == again.content == b"".join(provider.chunks)
    sent = ["stream_options" in asked.body for asked in provider.asked]
    assert sent == [True, False, False]
    assert await tokens(app, openai.id) == (2, 24, 6)


async def test_another_refusal_is_not_repeated(openai: Person, provider: Provider) -> None:
    provider.status, provider.error = 400, {"error": {"message": "max_tokens is too large"}}

    answer = await openai.agent.post("/chat/completions", json=asking())

    assert answer.status_code == 400
    assert len(provider.asked) == 1


@pytest.mark.parametrize(
    "media_type",
    ["Text/Event-Stream", "TEXT/EVENT-STREAM; Charset=UTF-8", "text/plain", "application/json",
     "application/octet-stream", None],
)  # fmt: skip
@pytest.mark.parametrize("begin", [b"", b"\xef\xbb\xbf", b": PROCESSING\n\n"])
async def test_a_stream_is_one_by_any_name(
    app: FastAPI, openai: Person, provider: Provider, media_type: str | None, begin: bytes
) -> None:
    plain = b"".join(provider.chunks)
    provider.chunks = [begin + provider.chunks[0], *provider.chunks[1:]]
    provider.media_type = media_type

    answer = await openai.agent.post("/chat/completions", json=asking())

    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.content == begin.removeprefix(b"\xef\xbb\xbf") + plain
    assert await tokens(app, openai.id) == (1, 12, 3)


@pytest.mark.parametrize("media_type", ["text/event-stream", "text/plain", None])
@pytest.mark.parametrize("clean", [True, False], ids=["ended", "broken"])
async def test_a_stream_that_breaks_off_says_so_and_is_counted(
    app: FastAPI, openai: Person, provider: Provider, media_type: str | None, clean: bool
) -> None:
    provider.chunks = openai_chunks("Hel", "lo")[:2]
    provider.media_type, provider.break_off = media_type, not clean

    first, second = [await openai.agent.post("/chat/completions", json=asking()) for _ in range(2)]

    assert '"code":"provider-lost"' in first.text
    assert '"type":"server_error"' in first.text
    assert '"type":"invalid_request_error"' in second.text  # which OpenClaw does not repeat
    requests, read, written = await tokens(app, openai.id)
    assert (requests, written) == (2, 4)
    assert read > 20


@pytest.mark.parametrize("refusal", IN_ANSWERS, ids=lambda one: one.body[:60])
async def test_an_error_in_a_stream_is_found_and_told(
    app: FastAPI, openai: Person, provider: Provider, refusal: Refusal
) -> None:
    good = provider.chunks
    provider.chunks = [good[0], f"data: {refusal.body}\n\n".encode(), good[-1]]

    answer = await openai.agent.post("/chat/completions", json=asking())

    assert answer.content.startswith(good[0])
    error = app.state.llm.last_errors.of(openai.id)
    assert error.code == refusal.code
    assert json.loads(refusal.body)["error"]["message"] in error.detail
    if refusal.code != "provider-trouble":
        assert json.loads(refusal.body)["error"]["message"] not in answer.text

    provider.chunks = good
    assert (await openai.agent.post("/chat/completions", json=asking())).content == b"".join(good)
    assert app.state.llm.last_errors.of(openai.id) is None


@pytest.mark.parametrize("refusal", IN_ANSWERS, ids=lambda one: one.body[:60])
async def test_an_error_as_a_whole_answer_gets_the_status_of_one(
    app: FastAPI, openai: Person, provider: Provider, refusal: Refusal
) -> None:
    provider.whole = json.loads(refusal.body)

    answer = await openai.agent.post("/chat/completions", json=asking(stream=False))

    assert answer.status_code in (424, 503, 502, 529)
    assert app.state.llm.last_errors.of(openai.id).code == refusal.code


async def test_the_log_has_the_providers_reason_without_the_key(
    openai: Person, provider: Provider, quiet_logs: list[Any]
) -> None:
    provider.status, provider.error = 401, {"error": {"message": f"Wrong key {KEY} for org-7"}}

    await openai.agent.post("/chat/completions", json=asking())

    (entry,) = [one for one in quiet_logs if one["event"] == "provider returned an error"]
    assert entry["reason"] == "Wrong key ••• for org-7"
