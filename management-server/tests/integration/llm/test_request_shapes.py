"""Anthropic's Messages and OpenAI's Responses through `/llm`, and what agents know of the shape."""

import json
from typing import Any

import pytest
from fastapi import FastAPI
from ocmt_testing.management.agent_server import FakeAgentServer
from ocmt_testing.management.people import Person
from ocmt_testing.management.provider import Provider, anthropic_chunks, responses_chunks

KEY = "sk-abcdefghijklmnop-1234"


async def choose(person: Person, provider: str, model: str) -> None:
    body = {"provider": provider, "model": model, "key": KEY}
    answer = await person.browser.put("/api/model", json=body)
    assert answer.status_code == 200, answer.text


async def usage(app: FastAPI, person: Person) -> dict[str, Any]:
    await app.state.llm.usage.write()
    rows = (await person.browser.get("/api/usage")).json()["rows"]
    return {row["model"]: row for row in rows}


def responses(**changes: Any) -> dict[str, Any]:
    message = {"role": "user", "content": [{"type": "input_text", "text": "hello"}]}
    return {"model": "default", "input": [message], "stream": True, "store": False, **changes}


async def test_responses_pass_with_their_usage_and_cost(
    app: FastAPI, ada: Person, provider: Provider
) -> None:
    await choose(ada, "openai", "gpt-5.5")
    provider.chunks = responses_chunks("Dear ", "answer.", usage=(1000, 200), cached=600)
    item = {"type": "reasoning", "id": "rs_1", "encrypted_content": "abc", "summary": []}
    asked = responses(reasoning={"effort": "medium"}, include=["reasoning.encrypted_content"])
    asked["input"].append(item)

    answer = await ada.agent.post("/responses", json=asked)

    assert answer.text == b"".join(provider.chunks).decode()
    (seen,) = provider.asked
    assert seen.path == "/openai/v1/responses"
    assert seen.headers["authorization"] == f"Bearer {KEY}"
    assert seen.body == asked | {"model": "gpt-5.5"}
    row = (await usage(app, ada))["gpt-5.5"]
    assert (row["tokensIn"], row["tokensOut"], row["cached"], row["reasoning"]) == (
        1000, 200, 600, 50,
    )  # fmt: skip
    assert row["costUsd"] > 0
    assert row["estimated"] == row["unpriced"] == 0


async def test_messages_pass_with_their_cache_and_thinking(
    app: FastAPI, ada: Person, provider: Provider
) -> None:
    await choose(ada, "anthropic", "claude-opus-5")
    provider.chunks = anthropic_chunks("Well.", usage=(10, 200), cached=900, cache_written=90)
    cache = {"type": "ephemeral"}
    asked = {
        "model": "default",
        "max_tokens": 100,
        "stream": True,
        "system": [{"type": "text", "text": "Be kind.", "cache_control": cache}],
        "thinking": {"type": "adaptive"},
        "messages": [{"role": "user", "content": "hello"}],
    }

    answer = await ada.agent.post(
        "/messages", json=asked, headers={"anthropic-beta": "interleaved-thinking-2025-05-14"}
    )

    assert answer.text == b"".join(provider.chunks).decode()
    (seen,) = provider.asked
    assert seen.body == asked | {"model": "claude-opus-5"}
    assert seen.headers["anthropic-beta"] == "interleaved-thinking-2025-05-14"
    row = (await usage(app, ada))["claude-opus-5"]
    assert (row["tokensIn"], row["tokensOut"], row["cached"], row["cacheWritten"]) == (
        1000, 200, 900, 90,
    )  # fmt: skip
    assert row["costUsd"] > 0


@pytest.mark.parametrize("path", ["/responses", "/messages"])
async def test_a_cut_answer_is_an_error_and_is_estimated(
    app: FastAPI, ada: Person, provider: Provider, path: str
) -> None:
    await choose(ada, "openai" if path == "/responses" else "anthropic", "m")
    chunks = responses_chunks if path == "/responses" else anthropic_chunks
    provider.chunks, provider.break_off = chunks("Dear ", "answer.")[:4], True

    answer = await ada.agent.post(path, json={**responses(), "messages": []})

    last = answer.text.rstrip().rpartition("\n\n")[2]
    assert last.startswith("event: error\n")
    error = json.loads(last.partition("data: ")[2])
    assert error["type"] == "error"
    assert error["error"]["code"] == "provider-lost"
    row = (await usage(app, ada))["m"]
    assert (row["requests"], row["estimated"]) == (1, 1)


@pytest.mark.parametrize(
    ("event", "code"),
    [
        ({"type": "response.failed", "response": {"status": "failed", "error":
            {"code": "insufficient_quota", "message": "You exceeded your current quota"}}},
         "provider-unpaid"),
        ({"type": "error", "code": "invalid_api_key", "message": "Incorrect API key provided",
          "param": None, "sequence_number": 3}, "provider-refused-key"),
        ({"type": "error", "error": {"type": "billing_error", "message": "credit balance"}},
         "provider-unpaid"),
    ],
)  # fmt: skip
async def test_an_error_within_responses_is_in_our_words(
    ada: Person, provider: Provider, event: dict[str, Any], code: str
) -> None:
    await choose(ada, "openai", "gpt-5.5")
    data = f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
    provider.chunks = [*responses_chunks("Dear ")[:4], data]

    answer = await ada.agent.post("/responses", json=responses())

    last = answer.text.rstrip().rpartition("\n\n")[2]
    assert "quota" not in last
    assert "API key" not in last
    ours = json.loads(last.partition("data: ")[2])
    assert (ours["type"], ours["code"], ours["error"]["type"]) == (
        "error", code, "invalid_request_error",
    )  # fmt: skip
    assert ours["message"] == ours["detail"]


async def test_a_budget_refuses_responses_too(ada: Person, provider: Provider) -> None:
    await choose(ada, "openai", "gpt-5.5")
    limit = await ada.browser.put("/api/admin/budgets/total", json={"dayHardUsd": 0})
    assert limit.status_code == 200, limit.text

    refused = await ada.agent.post("/responses", json=responses())

    assert (refused.status_code, refused.json()["error"]["code"]) == (424, "budget-reached")
    assert provider.asked == []


@pytest.mark.parametrize(
    ("asked", "shown"),
    [("hello there", "hello there"), (responses(stream=False)["input"], "hello")],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_the_demo_answers_responses(
    ada: Person, asked: object, shown: str, stream: bool
) -> None:
    answer = await ada.agent.post(
        "/responses", json={"model": "default", "input": asked, "stream": stream}
    )

    assert answer.status_code == 200
    if stream:
        lines = [line for line in answer.text.splitlines() if line.startswith("data: ")]
        events = [json.loads(line.removeprefix("data: ")) for line in lines]
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
        whole = events[-1]["response"]
        deltas = [e["delta"] for e in events if e["type"] == "response.output_text.delta"]
        assert "".join(deltas) == whole["output"][0]["content"][0]["text"]
    else:
        whole = answer.json()
    assert whole["status"] == "completed"
    assert f"> {shown}" in whole["output"][0]["content"][0]["text"]
    assert whole["usage"]["input_tokens"] > 0


@pytest.mark.parametrize("body", [{}, {"input": {}}, {"input": 5}, {"messages": []}])
async def test_a_request_without_a_conversation_is_a_400(ada: Person, body: object) -> None:
    refused = await ada.agent.post("/responses", json=body)
    assert (refused.status_code, refused.json()["code"]) == (400, "no-messages")


@pytest.mark.parametrize(
    ("chosen", "path"),
    [("groq", "/messages"), ("google", "/responses"), ("anthropic", "/responses")],
)
async def test_a_turn_that_a_change_of_the_model_overtakes_is_told_so(
    ada: Person, provider: Provider, chosen: str, path: str
) -> None:
    await choose(ada, chosen, "m")

    refused = await ada.agent.post(path, json={**responses(), "messages": []})

    assert (refused.status_code, refused.json()["error"]["code"]) == (424, "model-changed")
    assert "Send the message again" in refused.json()["detail"]
    assert provider.asked == []


async def test_the_agent_is_told_the_shape_before_the_choice_is_answered(
    ada: Person, agent_server: FakeAgentServer
) -> None:
    def shape() -> tuple[str, bool, bool]:
        model = agent_server.containers[ada.id]["model"]
        return model["api"], model["reasoning"], model["images"]

    await choose(ada, "anthropic", "claude-opus-5")
    assert shape() == ("anthropic-messages", True, True)
    await choose(ada, "groq", "openai/gpt-oss-120b")
    assert shape() == ("openai-completions", False, False)
    await choose(ada, "anthropic", "claude-3-5-haiku-latest")
    assert shape() == ("anthropic-messages", False, True)
    assert (await ada.browser.delete("/api/model/keys/anthropic")).status_code == 204
    assert shape() == ("openai-completions", False, False)


async def test_what_could_not_be_sent_is_sent_later(
    app: FastAPI, ada: Person, agent_server: FakeAgentServer
) -> None:
    agent_server.model_refusals.append((503, "runtime-failed", "Free space on the disk."))
    await choose(ada, "anthropic", "claude-opus-5")
    assert agent_server.containers[ada.id]["model"] == {}

    await app.state.llm.agent_models.send_all()

    assert agent_server.containers[ada.id]["model"]["api"] == "anthropic-messages"


@pytest.mark.parametrize(
    "had", [{}, {"api": "openai-responses", "name": "gpt-5.5", "reasoning": True}]
)
async def test_an_agent_that_is_made_again_gets_its_model(
    app: FastAPI, ada: Person, agent_server: FakeAgentServer, had: dict[str, Any]
) -> None:
    await choose(ada, "anthropic", "claude-opus-5")
    agent_server.containers[ada.id]["model"] = had

    await app.state.llm.agent_models.send_all()

    assert agent_server.containers[ada.id]["model"]["name"] == "claude-opus-5"


async def test_an_agent_server_of_the_release_before_is_sent_none(
    app: FastAPI, ada: Person, agent_server: FakeAgentServer
) -> None:
    await choose(ada, "anthropic", "claude-opus-5")
    agent_server.containers[ada.id]["model"] = None

    await app.state.llm.agent_models.send_all()

    assert agent_server.containers[ada.id]["model"] is None
