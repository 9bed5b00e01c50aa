"""What users and admins see of usage and costs, and what a budget does to an agent's requests."""

import asyncio
import csv
import io
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from ocmt_management.settings import ManagementSettings
from ocmt_testing.management.people import Person, until
from ocmt_testing.management.provider import Provider, openai_chunks, provider_urls

KEY = "sk-adas-own-key-0123456789"
MODEL = "gpt-5.5"
"""Five dollars for a million tokens in, thirty for a million out."""
COST = 12 * 5e-6 + 3 * 30e-6
"""Of an answer of `openai_chunks`: 12 tokens in, 3 out."""


@pytest.fixture
def settings(
    make_settings: Callable[..., ManagementSettings],
    database_url: str,
    its_settings: dict[str, str],
    provider: Provider,
) -> ManagementSettings:
    return make_settings(database_url=database_url, **provider_urls(provider), **its_settings)


@pytest.fixture
async def paying(ada: Person, provider: Provider, seen_secrets: set[str]) -> Person:
    """Ada, an admin, with a model that costs something."""
    seen_secrets.add(KEY)
    await ada.choose("openai", MODEL, KEY)
    provider.chunks = openai_chunks("Hel", "lo")
    return ada


def asking(text: str = "hello", **changes: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], "stream": True, **changes}


async def ask(person: Person, text: str = "hello", **changes: Any) -> httpx2.Response:
    return await person.agent.post("/chat/completions", json=asking(text, **changes))


async def usage(app: FastAPI, person: Person) -> dict[str, Any]:
    await app.state.llm.usage.write()
    answer = await person.browser.get("/api/usage")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def limit(person: Person, user_id: str | None = None, **limits: float) -> httpx2.Response:
    path = "total" if user_id is None else f"users/{user_id}"
    return await person.browser.put(f"/api/admin/budgets/{path}", json=limits)


async def test_a_user_sees_their_usage_by_day_model_and_source(
    app: FastAPI, paying: Person
) -> None:
    await ask(paying)
    await ask(paying, "[cron:1 report] go")
    await ask(paying, "[cron:1 report] go")
    found = await usage(app, paying)

    assert found["timeZone"] == "UTC"
    assert found["today"] == "2026-11-23"
    rows = {(r["source"], r["requests"], r["tokensIn"], r["tokensOut"]) for r in found["rows"]}
    assert rows == {("chat", 1, 12, 3), ("job", 2, 24, 6)}
    chat = next(r for r in found["rows"] if r["source"] == "chat")
    assert (chat["day"], chat["provider"], chat["model"]) == ("2026-11-23", "openai", MODEL)
    assert chat["costUsd"] == pytest.approx(COST)
    assert (chat["estimated"], chat["unpriced"], chat["cached"]) == (0, 0, 0)
    assert found["budget"] is None


@pytest.mark.parametrize("model", ["gpt-unheard-of", "llama-4", "m"])
async def test_an_unknown_price_is_null_and_never_zero(
    app: FastAPI, paying: Person, model: str
) -> None:
    await paying.choose("openai", model, None)
    await ask(paying)
    (row,) = (await usage(app, paying))["rows"]

    assert (row["costUsd"], row["unpriced"]) == (None, 1)
    everybody = (await paying.browser.get("/api/admin/usage")).json()
    assert everybody["users"][0]["costUsd"] is None
    text = (await paying.browser.get("/api/usage/export")).text
    assert next(csv.DictReader(io.StringIO(text)))["cost_usd"] == ""


async def test_the_demo_costs_nothing_and_that_is_known(app: FastAPI, ada: Person) -> None:
    await ask(ada)
    (row,) = (await usage(app, ada))["rows"]

    assert (row["provider"], row["costUsd"], row["unpriced"]) == ("demo", 0, 0)


async def test_days_are_those_of_the_users_clock(
    app: FastAPI, paying: Person, times: dict[str, datetime]
) -> None:
    assert (
        await paying.browser.put("/api/usage/time-zone", json={"timeZone": "Pacific/Auckland"})
    ).status_code == 204
    times["now"] = datetime(2026, 11, 30, 10, 59, tzinfo=UTC)
    await ask(paying)
    times["now"] = datetime(2026, 11, 30, 11, 0, tzinfo=UTC)
    await ask(paying)

    found = await usage(app, paying)
    assert [row["day"] for row in found["rows"]] == ["2026-11-30", "2026-12-01"]
    assert found["today"] == "2026-12-01"


@pytest.mark.parametrize("zone", ["Mars/Base", "", "../etc/passwd", "UTC\n", "x" * 65])
async def test_a_time_zone_that_is_none_is_refused(ada: Person, zone: str) -> None:
    refused = await ada.browser.put("/api/usage/time-zone", json={"timeZone": zone})

    assert refused.status_code == 422


@pytest.mark.both_databases
async def test_an_admin_sees_everybody_by_user_and_by_day(
    app: FastAPI,
    paying: Person,
    person: Callable[[str], Awaitable[Person]],
) -> None:
    bob = await person("bob")
    await ask(paying)
    await ask(bob)
    await app.state.llm.usage.write()

    found = (await paying.browser.get("/api/admin/usage")).json()
    assert {(row["email"], row["requests"]) for row in found["users"]} == {
        ("ada@example.com", 1),
        ("bob@example.com", 1),
    }
    assert [(row["day"], row["requests"]) for row in found["days"]] == [("2026-11-23", 2)]
    assert found["pricesProblem"] is None
    text = (await paying.browser.get("/api/admin/usage/export")).text
    rows = list(csv.DictReader(io.StringIO(text)))
    assert {(row["user"], row["model"]) for row in rows} == {
        ("ada@example.com", MODEL),
        ("bob@example.com", "demo"),
    }


async def test_members_see_their_own_only(
    paying: Person, person: Callable[[str], Awaitable[Person]], app: FastAPI
) -> None:
    bob = await person("bob")
    await ask(paying)

    assert (await usage(app, bob))["rows"] == []
    assert "ada@" not in (await bob.browser.get("/api/usage/export")).text
    for method, path in (
        ("GET", "usage"), ("GET", "usage/export"), ("GET", "budgets"),
        ("PUT", "budgets/total"), ("PUT", f"budgets/users/{bob.id}"),
    ):  # fmt: skip
        answer = await bob.browser.request(method, f"/api/admin/{path}", json={})
        assert answer.status_code == 403, path


@pytest.mark.parametrize(
    "query",
    ["from=2026-11-30&to=2026-11-01", "from=2020-01-01&to=2026-01-01", "from=x", "to=0",
     "from=0001-01-01", "to=9999-12-31"],
)  # fmt: skip
async def test_days_out_of_order_are_refused(ada: Person, query: str) -> None:
    for path in ("/api/usage", "/api/usage/export", "/api/admin/usage"):
        assert (await ada.browser.get(f"{path}?{query}")).status_code == 422


async def test_metrics_count_requests_and_name_no_user(paying: Person, app: FastAPI) -> None:
    await ask(paying)
    of_this_machine = httpx2.ASGITransport(app=app, client=("127.0.0.1", 50000))
    async with httpx2.AsyncClient(transport=of_this_machine, base_url="http://ocmt") as prometheus:
        text = (await prometheus.get("/metrics")).text

    assert 'ocmt_model_requests_total{provider="openai",source="chat"} 1.0' in text
    assert 'ocmt_model_tokens_total{kind="tokens_in",provider="openai",source="chat"} 12.0' in text
    assert paying.id not in text


# Budgets


@pytest.mark.both_databases
async def test_a_hard_limit_refuses_and_a_raised_one_answers_at_once(
    app: FastAPI, paying: Person, provider: Provider
) -> None:
    assert (await limit(paying, paying.id, dayHardUsd=COST * 1.5)).status_code == 200
    for _ in range(2):
        assert (await ask(paying, max_tokens=3)).status_code == 200
        await app.state.llm.usage.write()

    refused = await ask(paying)
    assert (refused.status_code, refused.json()["code"]) == (424, "budget-reached")
    assert refused.json()["error"]["type"] == "invalid_request_error"
    assert len(provider.asked) == 2
    assert app.state.llm.last_errors.of(paying.id).code == "budget-reached"
    budget = (await usage(app, paying))["budget"]
    assert budget["reached"] == "day"
    assert budget["daySpentUsd"] == pytest.approx(2 * COST)

    await limit(paying, paying.id, dayHardUsd=1)
    assert (await ask(paying)).status_code == 200
    await limit(paying, paying.id)
    assert (await usage(app, paying))["budget"] is None


async def test_the_total_refuses_everybody(
    app: FastAPI, paying: Person, person: Callable[[str], Awaitable[Person]]
) -> None:
    bob = await person("bob")
    await bob.choose("openai", MODEL, KEY)
    await ask(bob)
    await app.state.llm.usage.write()
    await limit(paying, monthHardUsd=COST / 2)

    for one in (paying, bob):
        refused = await ask(one)
        assert (refused.status_code, refused.json()["code"]) == (424, "budget-reached")
    budgets = (await paying.browser.get("/api/admin/budgets")).json()
    assert budgets["total"]["reached"] == "month"
    assert budgets["users"] == []


async def test_sixteen_at_once_pass_the_limit_by_less_than_one(
    app: FastAPI, paying: Person, provider: Provider
) -> None:
    reserve = 1000 * 30e-6
    await limit(paying, paying.id, dayHardUsd=reserve * 3.5)

    answers = await asyncio.gather(*(ask(paying, max_tokens=1000) for _ in range(16)))

    assert sorted({answer.status_code for answer in answers}) == [200, 424]
    assert len(provider.asked) == 4


async def test_a_rest_is_kept_for_jobs(app: FastAPI, paying: Person) -> None:
    await limit(paying, paying.id, dayHardUsd=2 * COST, keptForJobsUsd=1.5 * COST)
    assert (await ask(paying, max_tokens=1)).status_code == 200
    await app.state.llm.usage.write()

    assert (await ask(paying)).status_code == 424
    assert (await ask(paying, "[cron:1 report] go")).status_code == 200


@pytest.mark.parametrize("change", [{"daySoftUsd": 1}, {"monthSoftUsd": 1}])
async def test_a_soft_limit_is_told_and_refuses_nothing(
    app: FastAPI, paying: Person, change: dict[str, float]
) -> None:
    await limit(paying, paying.id, **{name: COST / 2 for name in change})
    for _ in range(2):
        assert (await ask(paying)).status_code == 200

    budget = (await usage(app, paying))["budget"]
    assert budget["told"] in ("day", "month")
    assert budget["reached"] is None


async def test_a_model_without_a_price_is_refused_under_a_hard_limit_only(
    paying: Person, provider: Provider
) -> None:
    await paying.choose("openai", "gpt-unheard-of", None)
    assert (await ask(paying)).status_code == 200
    await limit(paying, paying.id, dayHardUsd=5)

    refused = await ask(paying)
    assert (refused.status_code, refused.json()["code"]) == (424, "price-unknown")
    assert len(provider.asked) == 1


async def test_openrouter_is_charged_what_it_says(
    app: FastAPI, paying: Person, provider: Provider
) -> None:
    await paying.choose("openrouter", "anthropic/claude-sonnet-5", KEY)
    await limit(paying, paying.id, dayHardUsd=5)
    provider.whole = {"usage": {"prompt_tokens": 5, "completion_tokens": 6, "cost": 0.25}}

    assert (await ask(paying, stream=False)).status_code == 200
    (row,) = (await usage(app, paying))["rows"]
    assert row["costUsd"] == 0.25


async def test_a_failed_request_gives_its_reserve_back(
    app: FastAPI, paying: Person, provider: Provider
) -> None:
    await limit(paying, paying.id, dayHardUsd=0.01)
    provider.status, provider.error = 500, {"error": {"message": "no"}}
    for _ in range(3):
        await ask(paying)
        await app.state.llm.usage.write()

    budget = (await usage(app, paying))["budget"]
    assert (budget["daySpentUsd"], budget["reached"]) == (0, None)


@pytest.mark.parametrize("background", [True, 1, "true"])
async def test_an_answer_in_the_background_is_refused_under_a_limit(
    paying: Person, provider: Provider, background: object
) -> None:
    body = {"input": "hello", "background": background}
    assert (await paying.agent.post("/responses", json=body)).status_code == 200
    await limit(paying, paying.id, dayHardUsd=5)

    refused = await paying.agent.post("/responses", json=body)

    assert (refused.status_code, refused.json()["code"]) == (424, "background-refused")
    assert refused.json()["error"]["type"] == "invalid_request_error"
    assert len(provider.asked) == 1
    for harmless in (False, None):
        body["background"] = harmless
        assert (await paying.agent.post("/responses", json=body)).status_code == 200


@pytest.mark.parametrize("path", ["/responses", "/chat/completions"])
async def test_a_limit_leaves_the_service_tier_to_the_provider(
    paying: Person, provider: Provider, path: str
) -> None:
    body = asking(input="hello", service_tier="priority", stream=False)
    await paying.agent.post(path, json=body)
    await limit(paying, paying.id, dayHardUsd=5)
    await paying.agent.post(path, json=body)

    assert ["service_tier" in asked.body for asked in provider.asked] == [True, False]


RESERVED = 1000 * 30e-6
"""For an answer of at most a thousand tokens; the request adds less than a hundredth."""


async def test_a_whole_answer_without_usage_costs_what_was_reserved(
    app: FastAPI, paying: Person, provider: Provider
) -> None:
    await limit(paying, paying.id, dayHardUsd=5)
    provider.whole = {"id": "resp_1", "status": "queued", "usage": None}

    body = {"input": "hello", "max_output_tokens": 1000}
    assert (await paying.agent.post("/responses", json=body)).status_code == 200

    found = await usage(app, paying)
    assert found["rows"][0]["estimated"] == 1
    assert found["rows"][0]["costUsd"] == pytest.approx(RESERVED, rel=0.01)
    assert found["budget"]["daySpentUsd"] == pytest.approx(RESERVED, rel=0.01)


async def test_a_caller_that_leaves_before_the_answer_pays_what_was_reserved(
    app: FastAPI, paying: Person, provider: Provider
) -> None:
    await limit(paying, paying.id, dayHardUsd=5)
    provider.silent = True

    asking_long = asyncio.create_task(ask(paying, max_tokens=1000))
    async with asyncio.timeout(60):
        await provider.thinking.wait()
        asking_long.cancel()
        await provider.left.wait()
    await asyncio.gather(asking_long, return_exceptions=True)

    await until(lambda: bool(app.state.llm.usage._sums))
    budget = (await usage(app, paying))["budget"]
    assert budget["daySpentUsd"] == pytest.approx(RESERVED, rel=0.01)


async def test_a_stopped_stream_costs_what_was_written(
    app: FastAPI, paying: Person, provider: Provider
) -> None:
    await limit(paying, paying.id, dayHardUsd=5)
    provider.go_on = asyncio.Queue()
    body = asking(max_tokens=1000)
    async with paying.agent.stream("POST", "/chat/completions", json=body) as answer:
        await anext(answer.aiter_raw())
    async with asyncio.timeout(60):
        await provider.left.wait()

    await until(lambda: bool(app.state.llm.usage._sums))
    budget = (await usage(app, paying))["budget"]
    assert 0 < budget["daySpentUsd"] < RESERVED / 20


async def test_an_error_in_a_whole_answer_does_not_cost_the_reserve(
    app: FastAPI, paying: Person, provider: Provider
) -> None:
    await limit(paying, paying.id, dayHardUsd=5)
    provider.whole = {"error": {"message": "The server had an error.", "type": "server_error"}}

    await ask(paying, stream=False, max_tokens=1000)

    assert (await usage(app, paying))["budget"]["daySpentUsd"] < RESERVED / 20


async def test_a_database_away_in_mid_stream_settles_later(
    app: FastAPI, paying: Person, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    await limit(paying, paying.id, dayHardUsd=5)
    provider.go_on = asyncio.Queue()
    async with paying.agent.stream("POST", "/chat/completions", json=asking()) as answer:
        received = answer.aiter_raw()
        first = await anext(received)
        with monkeypatch.context() as away:
            away.setattr(app.state.llm.usage._database, "write", None)
            for _ in provider.chunks[1:]:
                provider.go_on.put_nowait(None)
            rest = b"".join([chunk async for chunk in received])
            with pytest.raises(TypeError):
                await app.state.llm.usage.write()

    assert first + rest == b"".join(provider.chunks)
    found = await usage(app, paying)
    assert found["rows"][0]["costUsd"] == pytest.approx(COST)
    assert found["budget"]["daySpentUsd"] == pytest.approx(COST)


@pytest.mark.parametrize(
    "body",
    [{"dayHardUsd": -1}, {"dayHardUsd": 10**9}, {"dayHardUsd": "x"}, {"daySoftUsd": 2,
     "dayHardUsd": 1}, {"keptForJobsUsd": 1}, {"dayHardUsd": 1, "keptForJobsUsd": 2}, {"x": 1}],
)  # fmt: skip
async def test_limits_that_make_no_sense_are_refused(ada: Person, body: dict[str, Any]) -> None:
    refused = await ada.browser.put("/api/admin/budgets/total", content=json.dumps(body))

    assert refused.status_code == 422


@pytest.mark.parametrize("user_id", ["nobody", "total", "00000000-0000-4000-8000-000000000000"])
async def test_a_budget_needs_a_user(ada: Person, user_id: str) -> None:
    assert (await limit(ada, user_id, dayHardUsd=1)).status_code == 404
