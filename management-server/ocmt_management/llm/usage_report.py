"""Reports usage and its cost, to users, to admins and as CSV files."""

import csv
import io
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from dataclasses import fields
from datetime import date, timedelta

from ocmt_common.problems import Problem
from sqlalchemy.ext.asyncio import AsyncSession

from ocmt_management.auth.service import email_addresses_of
from ocmt_management.clock import Clock
from ocmt_management.db import Database
from ocmt_management.llm.budgets import NANO, Limits, day_of, reached, told
from ocmt_management.llm.models import TOTAL, Usage
from ocmt_management.llm.repository import UTC_ZONE, UsageRepository
from ocmt_management.llm.request_source import Source
from ocmt_management.llm.usage import UsageSum
from ocmt_management.llm.usage_schemas import (
    AdminUsageAnswer,
    BudgetsAnswer,
    BudgetView,
    DayRow,
    UsageAnswer,
    UsageCounts,
    UsageRow,
    UserBudgetRow,
    UserUsageRow,
)

_MOST_DAYS = 400
_USUAL_DAYS = 30
_COLUMNS = (
    "day", "user", "provider", "model", "source", "requests", "estimated", "unpriced",
    "tokens_in", "tokens_out", "cached", "cache_written", "reasoning", "cost_usd",
)  # fmt: skip


class UsageReport:
    """Reads usage and budgets, within one transaction."""

    def __init__(self, session: AsyncSession, clock: Clock) -> None:
        self._session = session
        self._rows = UsageRepository(session)
        self._clock = clock

    async def of_user(self, user_id: str, first: date | None, last: date | None) -> UsageAnswer:
        zone = await self._rows.time_zone(user_id)
        today = day_of(self._clock(), zone)
        first, last = days_between(first, last, today=today)
        rows = await self._rows.rows(user_id=user_id, first=first, last=last)
        budgets = await self._rows.budgets((user_id,))
        own = budgets.get(user_id)
        return UsageAnswer(
            time_zone=zone,
            today=today,
            rows=[
                UsageRow(
                    day=row.day, provider=row.provider, model=row.model, source=Source(row.source),
                    **UsageCounts.fields_of(_sum((row,))),
                )
                for row in rows
            ],
            budget=None if own is None else await self._budget(user_id, own, today),
        )  # fmt: skip

    async def of_all(
        self, first: date | None, last: date | None, *, prices_problem: str | None
    ) -> AdminUsageAnswer:
        first, last = days_between(first, last, today=self._clock().date())
        by_user: defaultdict[str, list[Usage]] = defaultdict(list)
        by_day: defaultdict[date, list[Usage]] = defaultdict(list)
        for row in await self._rows.rows(user_id=None, first=first, last=last):
            by_user[row.user_id].append(row)
            by_day[row.day].append(row)
        emails = await email_addresses_of(self._session, set(by_user))
        return AdminUsageAnswer(
            users=[
                UserUsageRow(
                    user_id=user_id, email=emails.get(user_id, ""),
                    **UsageCounts.fields_of(_sum(rows)),
                )
                for user_id, rows in by_user.items()
            ],
            days=[
                DayRow(day=day, **UsageCounts.fields_of(_sum(rows))) for day, rows in by_day.items()
            ],
            prices_problem=prices_problem,
        )  # fmt: skip

    async def budgets(self) -> BudgetsAnswer:
        found = await self._rows.budgets()
        total = found.pop(TOTAL, None)
        emails = await email_addresses_of(self._session, set(found))
        users = []
        for user_id, limits in found.items():
            today = day_of(self._clock(), await self._rows.time_zone(user_id))
            view = await self._budget(user_id, limits, today)
            users.append(
                UserBudgetRow(user_id=user_id, email=emails.get(user_id, ""), **view.model_dump())
            )
        today = day_of(self._clock(), UTC_ZONE)
        return BudgetsAnswer(
            total=None if total is None else await self._budget(None, total, today), users=users
        )

    async def _budget(self, user_id: str | None, limits: Limits, today: date) -> BudgetView:
        spent = await self._rows.spent(user_id=user_id, day=today)
        return BudgetView.of(
            limits, spent, told=told(limits, spent), reached=reached(limits, spent, Source.CHAT)
        )


async def exported(
    database: Database, *, user_id: str | None, first: date, last: date
) -> AsyncIterator[str]:
    """Yield the rows as CSV, 31 days per transaction; none stays open while rows are sent."""
    yield _line(_COLUMNS)
    while first <= last:
        until = min(last, first + timedelta(days=30))
        async with database.read() as session:
            rows = await UsageRepository(session).rows(user_id=user_id, first=first, last=until)
            emails = await email_addresses_of(session, {row.user_id for row in rows})
        text = "".join(_line(_csv_row(row, emails.get(row.user_id, ""))) for row in rows)
        if text:
            yield text
        first = until + timedelta(days=1)


def days_between(first: date | None, last: date | None, *, today: date) -> tuple[date, date]:
    """The requested range of days, by default the last thirty. Raises a 422 `Problem`."""
    last = last or today + timedelta(days=1)  # somewhere it is tomorrow already
    first = first or last - timedelta(days=_USUAL_DAYS)
    if first > last or (last - first).days > _MOST_DAYS:
        raise Problem(
            422,
            "days-wrong",
            f"Send a first and a last day, in order, at most {_MOST_DAYS} days apart.",
        )
    return first, last


def _sum(rows: Iterable[Usage]) -> UsageSum:
    whole = UsageSum()
    for row in rows:
        whole.add(UsageSum(**{one.name: getattr(row, one.name) for one in fields(UsageSum)}))
    return whole


def _csv_row(row: Usage, email: str) -> list[object]:
    cost: object = "" if row.unpriced and not row.cost else f"{row.cost / NANO:.9f}"
    counts = [getattr(row, name) for name in _COLUMNS[5:-1]]
    return [row.day, email, row.provider, row.model, row.source, *counts, cost]


def _line(cells: Iterable[object]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerow([_plain(cell) for cell in cells])
    return buffer.getvalue()


def _plain(cell: object) -> object:
    """Prefix a text that a spreadsheet would run as a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@") else cell
