"""Requests and answers about usage, costs and budgets. Money is in US dollars."""

from datetime import date
from typing import Annotated, Any, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ocmt_common.agent_api import Command, Wire
from pydantic import Field, field_validator, model_validator

from ocmt_management.llm.budgets import NANO, Limits, Period, Spent
from ocmt_management.llm.request_source import Source
from ocmt_management.llm.usage import UsageSum

Dollars = Annotated[float, Field(ge=0, le=1_000_000)]


class UsageCounts(Wire):
    requests: int
    estimated: int
    """Requests whose tokens are estimated: the answer was cut, or reported none."""
    unpriced: int
    """Requests to models whose price is not known."""
    tokens_in: int
    tokens_out: int
    cached: int
    cache_written: int
    reasoning: int
    cost_usd: float | None
    """The cost without the unpriced requests; `null` when no request has a known price."""

    @staticmethod
    def fields_of(used: UsageSum) -> dict[str, Any]:
        known = used.cost > 0 or used.unpriced == 0
        return {
            "requests": used.requests,
            "estimated": used.estimated,
            "unpriced": used.unpriced,
            "tokens_in": used.tokens_in,
            "tokens_out": used.tokens_out,
            "cached": used.cached,
            "cache_written": used.cache_written,
            "reasoning": used.reasoning,
            "cost_usd": used.cost / NANO if known else None,
        }


class UsageRow(UsageCounts):
    day: date
    provider: str
    model: str
    source: Source


class DayRow(UsageCounts):
    day: date


class UserUsageRow(UsageCounts):
    user_id: str
    email: str


class BudgetRequest(Command):
    """A missing limit is no limit; a budget without limits is deleted."""

    day_soft_usd: Dollars | None = None
    day_hard_usd: Dollars | None = None
    month_soft_usd: Dollars | None = None
    month_hard_usd: Dollars | None = None
    kept_for_jobs_usd: Dollars = 0
    """The part of the hard limits that chats leave to jobs and heartbeats."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        for soft, hard in (
            (self.day_soft_usd, self.day_hard_usd),
            (self.month_soft_usd, self.month_hard_usd),
        ):
            if soft is not None and hard is not None and soft > hard:
                raise ValueError("a soft limit must not be above the hard one of its period")
        hard_limits = [one for one in (self.day_hard_usd, self.month_hard_usd) if one is not None]
        if self.kept_for_jobs_usd and not hard_limits:
            raise ValueError("keptForJobsUsd is a part of a hard limit; set one")
        if hard_limits and self.kept_for_jobs_usd > min(hard_limits):
            raise ValueError("keptForJobsUsd must not be above a hard limit")
        return self

    def limits(self) -> Limits:
        return Limits(
            day_soft=nano(self.day_soft_usd),
            day_hard=nano(self.day_hard_usd),
            month_soft=nano(self.month_soft_usd),
            month_hard=nano(self.month_hard_usd),
            kept_for_jobs=nano(self.kept_for_jobs_usd) or 0,
        )


class BudgetView(Wire):
    day_soft_usd: float | None
    day_hard_usd: float | None
    month_soft_usd: float | None
    month_hard_usd: float | None
    kept_for_jobs_usd: float
    day_spent_usd: float
    """Includes the reservations of requests in progress."""
    month_spent_usd: float
    told: Period | None
    """The soft limit that is reached."""
    reached: Period | None
    """The hard limit that refuses chats now."""

    @classmethod
    def of(
        cls, limits: Limits, spent: Spent, *, told: Period | None, reached: Period | None
    ) -> Self:
        return cls(
            day_soft_usd=_dollars(limits.day_soft),
            day_hard_usd=_dollars(limits.day_hard),
            month_soft_usd=_dollars(limits.month_soft),
            month_hard_usd=_dollars(limits.month_hard),
            kept_for_jobs_usd=limits.kept_for_jobs / NANO,
            day_spent_usd=spent.day / NANO,
            month_spent_usd=spent.month / NANO,
            told=told,
            reached=reached,
        )


class UserBudgetRow(BudgetView):
    user_id: str
    email: str


class UsageAnswer(Wire):
    time_zone: str
    today: date
    rows: list[UsageRow]
    budget: BudgetView | None


class AdminUsageAnswer(Wire):
    users: list[UserUsageRow]
    days: list[DayRow]
    prices_problem: str | None
    """Why the operator's price file is not used."""


class BudgetsAnswer(Wire):
    total: BudgetView | None
    users: list[UserBudgetRow]


class TimeZoneRequest(Command):
    time_zone: str = Field(max_length=64)
    """An IANA name, such as `Europe/Berlin`."""

    @field_validator("time_zone")
    @classmethod
    def _known(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError("use a time zone's IANA name, such as Europe/Berlin") from error
        return name


def nano(dollars: float | None) -> int | None:
    return None if dollars is None else round(dollars * NANO)


def _dollars(nano: int | None) -> float | None:
    return None if nano is None else nano / NANO
