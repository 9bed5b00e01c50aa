"""Budgets as decisions: who is refused, who is told."""

import pytest
from ocmt_management.llm.budgets import Limits, Period, Spent, reached, told
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
