"""SQL of the shared keys: who may use them, and what each user spent of them."""

from collections.abc import Collection, Sequence
from datetime import date, timedelta

from sqlalchemy import Select, case, delete, func, or_, select, union_all
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from ocmt_management.llm.budgets import Limits, Spent, first_of_month
from ocmt_management.llm.models import Reservation, SharedKey, SharedKeySpending, SharedKeyUser
from ocmt_management.llm.usage import UsageKey


class SharedKeyRepository:
    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def one(self, provider: str, *, lock: bool = False) -> SharedKey | None:
        query = select(SharedKey).where(SharedKey.provider == provider)
        if lock:
            query = query.with_for_update()
        return (await self._session.scalars(query)).one_or_none()

    async def all(self) -> Sequence[SharedKey]:
        return (await self._session.scalars(select(SharedKey).order_by(SharedKey.provider))).all()

    async def users(self) -> dict[str, list[str]]:
        """Provider → the users who were chosen."""
        found: dict[str, list[str]] = {}
        for row in await self._session.scalars(select(SharedKeyUser)):
            found.setdefault(row.provider, []).append(row.user_id)
        return found

    async def granted(self, provider: str, user_id: str) -> SharedKey | None:
        """The provider's shared key, if this user may use it now."""
        query = _granted_to(user_id).where(SharedKey.provider == provider)
        return (await self._session.scalars(query)).one_or_none()

    async def all_granted(self, user_id: str) -> dict[str, SharedKey]:
        rows = await self._session.scalars(_granted_to(user_id))
        return {row.provider: row for row in rows}

    async def put(self, row: SharedKey, users: Collection[str]) -> None:
        """Replace a shared key and the choice of its users."""
        await self._session.merge(row)
        await self._session.flush()
        await self._session.execute(
            delete(SharedKeyUser).where(SharedKeyUser.provider == row.provider)
        )
        self._session.add_all(
            SharedKeyUser(provider=row.provider, user_id=user_id) for user_id in users
        )

    async def delete(self, provider: str) -> bool:
        await self._session.execute(delete(SharedKeyUser).where(SharedKeyUser.provider == provider))
        deleted = await self._session.scalars(
            delete(SharedKey).where(SharedKey.provider == provider).returning(SharedKey.provider)
        )
        return deleted.first() is not None

    async def add_spending(self, key: UsageKey, cost: int) -> None:
        """Add in one statement: another server may add at the same time."""
        dialect = self._session.get_bind().dialect.name
        insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
        added = insert(SharedKeySpending).values(
            provider=key.provider, user_id=key.user_id, day=key.day, cost=cost
        )
        columns = SharedKeySpending.__table__.c
        await self._session.execute(
            added.on_conflict_do_update(
                index_elements=[columns[name] for name in ("provider", "user_id", "day")],
                set_={"cost": columns["cost"] + added.excluded["cost"]},
            )
        )

    async def spent(self, provider: str, *, day: date, user_id: str | None) -> Spent:
        """Written costs and open reservations of one user of the key, or of all."""
        first = first_of_month(day)
        until = first_of_month(first + timedelta(days=31))
        written, open_ = SharedKeySpending, Reservation
        amounts = union_all(
            select(written.day.label("day"), written.cost.label("amount")).where(
                written.provider == provider,
                written.day >= first,
                written.day < until,
                *(() if user_id is None else (written.user_id == user_id,)),
            ),
            select(open_.day.label("day"), open_.amount.label("amount")).where(
                open_.shared,
                open_.provider == provider,
                open_.day >= first,
                open_.day < until,
                *(() if user_id is None else (open_.user_id == user_id,)),
            ),
        ).subquery()
        of_day = case((amounts.c.day == day, amounts.c.amount), else_=0)
        row = (
            await self._session.execute(select(func.sum(of_day), func.sum(amounts.c.amount)))
        ).one()
        return Spent(int(row[0] or 0), int(row[1] or 0))


def limits_of(row: SharedKey) -> Limits:
    """The limits of each user of a shared key."""
    return Limits(day_hard=row.day_hard, month_hard=row.month_hard)


def _granted_to(user_id: str) -> Select[SharedKey]:
    chosen = (
        select(SharedKeyUser.user_id)
        .where(SharedKeyUser.provider == SharedKey.provider, SharedKeyUser.user_id == user_id)
        .exists()
    )
    return select(SharedKey).where(~SharedKey.suspended, or_(SharedKey.everyone, chosen))
