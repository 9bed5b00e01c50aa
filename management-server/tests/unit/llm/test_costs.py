"""What tokens cost, and the source of an agent's request."""

import json
import os
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw
from ocmt_management.llm.budgets import day_of
from ocmt_management.llm.event_stream import WholeReader
from ocmt_management.llm.prices import Price, Prices, PricesWrong, PriceTable, read_prices
from ocmt_management.llm.request_source import Source, source_of
from ocmt_management.llm.usage import TokenCounts, UsageSum

DAY = date(2026, 11, 23)


def price(model: str = "m", since: date = date(2026, 1, 1), **changes: Any) -> Price:
    values = {"provider": "openai", "model": model, "since": since, "input": 2.0, "output": 10.0}
    return Price.model_validate(values | changes)


def test_the_table_that_ships_knows_the_suggested_models_of_openai_and_anthropic(
    tmp_path: Path,
) -> None:
    table = Prices(tmp_path).table
    million = TokenCounts(100_000, 1_000_000)

    assert table.cost("openai", "gpt-5.5", million, DAY) == 30_500_000_000
    assert table.cost("anthropic", "claude-sonnet-5-20260630", million, DAY) == 10_200_000_000
    assert table.cost("openai", "gpt-6-astra", million, DAY) == 51_000_000_000
    long = TokenCounts(300_000, 0)
    assert table.cost("openai", "gpt-6-astra", long, DAY) == 6_000_000_000


@pytest.mark.parametrize(
    ("tokens", "nano"),
    [
        (TokenCounts(1_000_000, 0), 2_000_000_000),
        (TokenCounts(0, 1), 10_000),
        (TokenCounts(1000, 0, cached=900), 100 * 2000 + 900 * 500),
        (TokenCounts(1000, 0, cache_written=1000), 1000 * 2500),
        (TokenCounts(0, 0), 0),
    ],
)
def test_each_kind_of_token_has_its_price(tokens: TokenCounts, nano: int) -> None:
    table = PriceTable([price(cached=0.5, cache_write=2.5)])

    assert table.cost("openai", "m", tokens, DAY) == nano


@pytest.mark.parametrize(
    ("provider", "model", "day"),
    [("openai", "other", DAY), ("groq", "m", DAY), ("openai", "m", date(2025, 12, 31)),
     ("openai", "m-mini", DAY)],
)  # fmt: skip
def test_a_price_that_is_not_known_is_not_zero(provider: str, model: str, day: date) -> None:
    cost = PriceTable([price()]).cost(provider, model, TokenCounts(5, 5), day)
    used = UsageSum.of(TokenCounts(5, 5), cost=cost, estimated=False)

    assert cost is None
    assert (used.cost, used.unpriced) == (0, 1)


def test_a_price_holds_from_its_day_until_the_next() -> None:
    table = PriceTable([price(), price(since=date(2026, 6, 1), input=1.0)])

    assert table.cost("openai", "m", TokenCounts(1000, 0), date(2026, 5, 31)) == 2_000_000
    assert table.cost("openai", "m", TokenCounts(1000, 0), date(2026, 6, 1)) == 1_000_000


def test_a_provider_that_says_what_it_charged_is_believed() -> None:
    reader = WholeReader()
    reader.feed(
        json.dumps({"usage": {"prompt_tokens": 5, "completion_tokens": 6, "cost": 0.0012}}).encode()
    )
    tokens = reader.tokens()

    assert tokens is not None
    assert PriceTable([]).cost("openrouter", "x/y", tokens, DAY) == 1_200_000


@pytest.mark.parametrize("cost", [-1, 10**9, "0.5", True, None, float("inf")])
def test_an_absurd_cost_is_not(cost: object) -> None:
    reader = WholeReader()
    usage = {"prompt_tokens": 5, "completion_tokens": 6, "cost": cost}
    reader.feed(json.dumps({"usage": usage}).encode())
    tokens = reader.tokens()

    assert tokens is None or tokens.reported_cost is None


OWN = '[[price]]\nprovider = "{}"\nmodel = "{}"\nsince = 2026-01-01\ninput = {}\noutput = 1.0\n'


def test_the_operators_file_adds_and_replaces_without_a_restart(tmp_path: Path) -> None:
    prices = Prices(tmp_path)
    (tmp_path / "prices.toml").write_text(
        OWN.format("openai", "gpt-5.5", "7.0") + OWN.format("openai", "llama*", "0.0")
    )
    prices.refresh()

    assert prices.table.cost("openai", "gpt-5.5", TokenCounts(1000, 0), DAY) == 7_000_000
    assert prices.table.cost("openai", "llama-4-70b", TokenCounts(1000, 0), DAY) == 0
    assert prices.table.cost("openai", "gpt-5.4", TokenCounts(1000, 0), DAY) == 2_500_000
    (tmp_path / "prices.toml").unlink()
    prices.refresh()
    assert prices.table.cost("openai", "gpt-5.5", TokenCounts(1000, 0), DAY) == 5_000_000


@pytest.mark.parametrize(
    "text",
    ["[[price]]\n", "price = 5", OWN.format("openai", "m", "-1.0"),
     OWN.format("openai", "m", "nan"), OWN.format("openai", "m", '"2"x'),
     "[[prices]]\nmodel = 1", OWN.format("", "m", "1.0")],
)  # fmt: skip
def test_a_file_with_an_error_is_named_and_changes_nothing(tmp_path: Path, text: str) -> None:
    file = tmp_path / "prices.toml"
    file.write_text(OWN.format("openai", "m", "7.0"))
    prices = Prices(tmp_path)
    file.write_text(text)
    os.utime(file, ns=(1, 1))
    prices.refresh()

    assert prices.problem is not None
    assert str(file) in prices.problem
    assert prices.table.cost("openai", "m", TokenCounts(1000, 0), DAY) == 7_000_000
    with pytest.raises(PricesWrong):
        read_prices(file)


def messages(*texts: str) -> Raw:
    listed = [{"role": "user", "content": text} for text in texts]
    return Raw(json.dumps(listed, separators=(",", ":")).encode())


@pytest.mark.parametrize(
    ("last", "source"),
    [
        ("[cron:7f3a daily report] Summarise", Source.JOB),
        ("Write a dream diary entry from these memory fragments:\n- a", Source.DREAMING),
        ("Follow the heartbeat monitor scratch context when provided.", Source.HEARTBEAT),
        ("hello", Source.CHAT),
        ("", Source.CHAT),
    ],
)
def test_the_last_message_tells_why_the_agent_asks(last: str, source: Source) -> None:
    assert source_of(messages("[cron:1 x] earlier", "Follow the heartbeat", last)) is source


def test_results_of_tools_are_passed_over() -> None:
    listed = [
        {"role": "user", "content": "[cron:1 x] go"},
        {"role": "assistant", "content": "calls"},
        {"role": "user", "content": [{"type": "tool_result", "content": "r" * 9000}]},
        {"role": "tool", "content": "r"},
    ]
    assert source_of(Raw(json.dumps(listed).encode())) is Source.JOB


@pytest.mark.parametrize("odd", [b"", b"[]", b"[5]", b'[{"role":"system"}]'])
def test_messages_without_a_user_are_a_chat(odd: bytes) -> None:
    assert source_of(odd) is Source.CHAT


@pytest.mark.parametrize(
    ("now", "zone", "day"),
    [
        (datetime(2026, 11, 30, 23, 30, tzinfo=UTC), "Europe/Berlin", date(2026, 12, 1)),
        (datetime(2026, 12, 1, 4, 59, tzinfo=UTC), "America/New_York", date(2026, 11, 30)),
        (datetime(2026, 12, 1, 5, 0, tzinfo=UTC), "America/New_York", date(2026, 12, 1)),
        (datetime(2026, 10, 25, 0, 30, tzinfo=UTC), "Europe/Berlin", date(2026, 10, 25)),
        (datetime(2026, 11, 30, 23, 30, tzinfo=UTC), "Nowhere/Town", date(2026, 11, 30)),
    ],
)
def test_a_day_is_the_users_own(now: datetime, zone: str, day: date) -> None:
    assert day_of(now, zone) == day
