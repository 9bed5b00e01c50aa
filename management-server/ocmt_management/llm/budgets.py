"""Decides whether a budget's limits are reached by what is spent and reserved. Pure."""

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ocmt_management.llm.request_source import Source

NANO = 10**9
"""Nano-dollars in a dollar."""


class Period(StrEnum):
    DAY = "day"
    MONTH = "month"


_NAMES = {Period.DAY: "today", Period.MONTH: "this month"}


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one budget, in nano-dollars; `None` is no limit."""

    day_soft: int | None = None
    day_hard: int | None = None
    month_soft: int | None = None
    month_hard: int | None = None
    kept_for_jobs: int = 0

    @property
    def refuses(self) -> bool:
        """Whether these limits can cause a request to be refused."""
        return self.day_hard is not None or self.month_hard is not None

    @property
    def warns(self) -> bool:
        return self.day_soft is not None or self.month_soft is not None


@dataclass(frozen=True, slots=True)
class Spent:
    """Recorded costs plus open reservations, of a day and of its month, in nano-dollars."""

    day: int = 0
    month: int = 0


def reached(limits: Limits, spent: Spent, source: Source) -> Period | None:
    """The period whose hard limit is reached; `None` if another request may be sent.

    A request may begin while anything is left, so spending exceeds a limit by less than one
    request's reservation.
    """
    kept = limits.kept_for_jobs if source is Source.CHAT else 0
    for period, hard, sum_ in (
        (Period.DAY, limits.day_hard, spent.day),
        (Period.MONTH, limits.month_hard, spent.month),
    ):
        if hard is not None and sum_ >= hard - kept:
            return period
    return None


def told(limits: Limits, spent: Spent) -> Period | None:
    """The period whose soft limit is reached; `None` if none is."""
    if limits.day_soft is not None and spent.day >= limits.day_soft:
        return Period.DAY
    if limits.month_soft is not None and spent.month >= limits.month_soft:
        return Period.MONTH
    return None


def warning(limits: Limits, spent: Spent) -> str | None:
    """A sentence for the user once a soft limit is reached."""
    period = told(limits, spent)
    if period is None:
        return None
    today = period is Period.DAY
    sum_, hard = (spent.day, limits.day_hard) if today else (spent.month, limits.month_hard)
    of = "" if hard is None else f" of ${hard / NANO:,.2f}"
    return f"Your agent has used ${sum_ / NANO:,.2f}{of} for models {_NAMES[period]}."


def day_of(now: datetime, time_zone: str) -> date:
    """The date of `now` in a time zone, or in UTC if this system does not know the zone."""
    try:
        return now.astimezone(ZoneInfo(time_zone)).date()
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return now.date()


def first_of_month(day: date) -> date:
    return day.replace(day=1)
