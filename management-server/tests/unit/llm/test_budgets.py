"""Budgets as decisions: which requests are refused, and which users are warned."""

import pytest
from ocmt_management.llm.budgets import NANO, Limits, Period, Spent, reached, told, warning
from ocmt_management.llm.request_source import Source

CHAT, JOB = Source.CHAT, Source.JOB


@pytest.mark.parametrize(
    ("limits", "spent", "source", "period"),
    [
        (Limits(), Spent(10**18, 10**18), CHAT, None),
        (Limits(day_hard=100), Spent(99, 99), CHAT, None),
        (Limits(day_hard=100), Spent(100, 100), CHAT, Period.DAY),
        (Limits(day_hard=0), Spent(), CHAT, Period.DAY),
        (Limits(month_hard=100), Spent(0, 100), JOB, Period.MONTH),
        (Limits(day_hard=100, month_hard=200), Spent(100, 200), CHAT, Period.DAY),
        (Limits(day_hard=100, kept_for_jobs=30), Spent(69, 69), CHAT, None),
        (Limits(day_hard=100, kept_for_jobs=30), Spent(70, 70), CHAT, Period.DAY),
        (Limits(day_hard=100, kept_for_jobs=30), Spent(70, 70), JOB, None),
        (Limits(day_hard=100, kept_for_jobs=30), Spent(99, 99), Source.HEARTBEAT, None),
        (Limits(day_hard=100, kept_for_jobs=30), Spent(100, 100), Source.DREAMING, Period.DAY),
        (Limits(day_soft=1, month_soft=1), Spent(5, 5), CHAT, None),
    ],
)
def test_a_hard_limit_refuses_when_nothing_is_left(
    limits: Limits, spent: Spent, source: Source, period: Period | None
) -> None:
    assert reached(limits, spent, source) is period


@pytest.mark.parametrize(
    ("limits", "spent", "period"),
    [
        (Limits(day_hard=5), Spent(9, 9), None),
        (Limits(day_soft=5), Spent(4, 400), None),
        (Limits(day_soft=5), Spent(5, 5), Period.DAY),
        (Limits(month_soft=5), Spent(0, 6), Period.MONTH),
    ],
)
def test_a_soft_limit_is_told(limits: Limits, spent: Spent, period: Period | None) -> None:
    assert told(limits, spent) is period


@pytest.mark.parametrize(
    ("limits", "spent", "words"),
    [
        (Limits(day_hard=5), Spent(9, 9), None),
        (Limits(day_soft=5 * NANO), Spent(4 * NANO, 9 * NANO), None),
        (Limits(day_soft=5 * NANO), Spent(5 * NANO, 9 * NANO), "$5.00 for models today"),
        (
            Limits(month_soft=5 * NANO, month_hard=2000 * NANO),
            Spent(0, 6 * NANO),
            "$6.00 of $2,000.00 for models this month",
        ),
    ],
)
def test_a_reached_soft_limit_is_a_sentence_for_the_chat(
    limits: Limits, spent: Spent, words: str | None
) -> None:
    sentence = warning(limits, spent)
    assert sentence == (None if words is None else f"Your agent has used {words}.")
    assert limits.warns == (limits.day_soft is not None or limits.month_soft is not None)
