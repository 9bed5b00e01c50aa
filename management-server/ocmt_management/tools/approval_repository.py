"""SQL of approvals. Every query names the user, except `due` and the housekeeping's."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from ocmt_management.auth.service import Status, User
from ocmt_management.tools.approval_models import ToolApproval
from ocmt_management.tools.approval_states import (
    OPEN,
    TOLD,
    ApprovalState,
    Delivery,
    Event,
    Times,
    after,
    next_attention,
)


@dataclass(frozen=True, slots=True)
class Due:
    """The fields of an approval that needs attention."""

    user_id: str
    id: str
    state: ApprovalState
    delivery: Delivery
    expires_at: datetime


class ApprovalRepository:
    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def of_user(self, user_id: str, approval_id: str) -> ToolApproval | None:
        return await self._session.scalar(
            select(ToolApproval).where(
                ToolApproval.user_id == user_id, ToolApproval.id == approval_id
            )
        )

    async def by_number(self, user_id: str, number: int) -> ToolApproval | None:
        return await self._session.scalar(
            select(ToolApproval).where(
                ToolApproval.user_id == user_id, ToolApproval.number == number
            )
        )

    async def result(self, user_id: str, approval_id: str) -> bytes | None:
        """The sealed result; `None` if there is none."""
        return await self._session.scalar(
            select(ToolApproval.result).where(
                ToolApproval.user_id == user_id, ToolApproval.id == approval_id
            )
        )

    async def latest_identical(self, user_id: str, digest: bytes) -> ToolApproval | None:
        return await self._session.scalar(
            select(ToolApproval)
            .where(ToolApproval.user_id == user_id, ToolApproval.digest == digest)
            .order_by(ToolApproval.number.desc())
            .limit(1)
        )

    async def last_number(self, user_id: str) -> int:
        return (
            await self._session.scalar(
                select(func.max(ToolApproval.number)).where(ToolApproval.user_id == user_id)
            )
            or 0
        )

    async def waiting(self, user_id: str) -> int:
        return (
            await self._session.scalar(
                select(func.count())
                .select_from(ToolApproval)
                .where(ToolApproval.user_id == user_id, ToolApproval.state == ApprovalState.WAITING)
            )
            or 0
        )

    async def latest(self, user_id: str, *, limit: int) -> Sequence[ToolApproval]:
        """All open approvals of the user and the `limit` latest of any state, newest first."""
        newest = (
            select(ToolApproval.id)
            .where(ToolApproval.user_id == user_id)
            .order_by(ToolApproval.number.desc())
            .limit(limit)
        )
        rows = await self._session.scalars(
            select(ToolApproval)
            .where(
                ToolApproval.user_id == user_id,
                ToolApproval.state.in_(OPEN) | ToolApproval.id.in_(newest),
            )
            .order_by(ToolApproval.number.desc())
        )
        return rows.all()

    async def held_by(self, user_id: str, request: bytes) -> Sequence[ToolApproval]:
        """The approvals whose outcome this request of the user's agent waits for."""
        rows = await self._session.scalars(
            select(ToolApproval).where(
                ToolApproval.user_id == user_id,
                ToolApproval.request == request,
                ToolApproval.delivery == Delivery.HELD,
            )
        )
        return rows.all()

    async def to_deliver(self, user_id: str, now: datetime) -> Sequence[ToolApproval]:
        """Outcomes to deliver to this user's agent now, oldest first."""
        rows = await self._session.scalars(
            select(ToolApproval)
            .where(
                ToolApproval.user_id == user_id,
                ToolApproval.state.not_in(OPEN),
                ToolApproval.delivery != Delivery.DONE,
                ToolApproval.next_at <= now,
            )
            .order_by(ToolApproval.number)
        )
        return rows.all()

    async def to_mail(self, user_id: str, now: datetime) -> Sequence[ToolApproval]:
        """Waiting approvals to mail to this user now, oldest first."""
        rows = await self._session.scalars(
            select(ToolApproval)
            .where(
                ToolApproval.user_id == user_id,
                ToolApproval.state == ApprovalState.WAITING,
                ToolApproval.mail_at <= now,
            )
            .order_by(ToolApproval.number)
        )
        return rows.all()

    async def due(self, now: datetime, *, limit: int) -> Sequence[Due]:
        """Approvals of all users that need attention now, the longest overdue first.

        An outcome for a user who is suspended is left out until it can be delivered.
        """
        to_be_told = ToolApproval.state.in_(TOLD) & (ToolApproval.delivery != Delivery.HELD)
        rows = await self._session.execute(
            select(
                ToolApproval.user_id,
                ToolApproval.id,
                ToolApproval.state,
                ToolApproval.delivery,
                ToolApproval.expires_at,
            )
            .join(User, User.id == ToolApproval.user_id)
            .where(ToolApproval.next_at <= now, or_(User.status == Status.ACTIVE, ~to_be_told))
            .order_by(ToolApproval.next_at)
            .limit(limit)
        )
        return [
            Due(user_id, approval_id, ApprovalState(state), Delivery(delivery), expires_at)
            for user_id, approval_id, state, delivery, expires_at in rows
        ]

    def add(self, row: ToolApproval) -> None:
        row.next_at = _next_at(row, {})
        self._session.add(row)

    async def move(self, row: ToolApproval, event: Event, **changes: Any) -> bool:
        """Apply `event` by one conditional UPDATE.

        Returns `False` if the row has changed since it was read, or its state has no such event.
        """
        state = after(ApprovalState(row.state), event)
        if state is None:
            return False
        return await self._update(row, state=state, version=row.version + 1, **changes)

    async def note(self, row: ToolApproval, **changes: Any) -> bool:
        """Change columns that are not shown; `False` if the row has changed since it was read."""
        return await self._update(row, **changes)

    async def extend_lease(
        self, user_id: str, approval_id: str, run_by: str, until: datetime
    ) -> None:
        await self._session.execute(
            update(ToolApproval)
            .where(
                ToolApproval.user_id == user_id,
                ToolApproval.id == approval_id,
                ToolApproval.state == ApprovalState.RUNNING,
                ToolApproval.run_by == run_by,
            )
            .values(lease_until=until, next_at=until)
        )

    async def erase_before(self, moment: datetime) -> None:
        """Erase arguments and results of all users' ended approvals created before `moment`."""
        await self._session.execute(
            update(ToolApproval)
            .where(
                ToolApproval.created_at < moment,
                ToolApproval.state.not_in(OPEN),
                ToolApproval.arguments.is_not(None),
            )
            .values(arguments=None, result=None, delivery=Delivery.DONE, next_at=None)
        )

    async def delete_before(self, moment: datetime) -> None:
        """Delete all users' ended approvals created before `moment`."""
        await self._session.execute(
            delete(ToolApproval).where(
                ToolApproval.created_at < moment, ToolApproval.state.not_in(OPEN)
            )
        )

    async def _update(self, row: ToolApproval, **changes: Any) -> bool:
        changed = await self._session.scalars(
            update(ToolApproval)
            .where(
                ToolApproval.user_id == row.user_id,
                ToolApproval.id == row.id,
                ToolApproval.state == row.state,
                ToolApproval.version == row.version,
                ToolApproval.delivery == row.delivery,
            )
            .values(**changes, next_at=_next_at(row, changes))
            .returning(ToolApproval.id)
            .execution_options(synchronize_session=False)
        )
        if changed.first() is None:
            return False
        await self._session.refresh(row)
        return True


def _next_at(row: ToolApproval, changes: dict[str, Any]) -> datetime | None:
    def value(name: str) -> Any:
        return changes.get(name, getattr(row, name))

    return next_attention(
        ApprovalState(value("state")),
        Delivery(value("delivery")),
        Times(
            created_at=row.created_at,
            expires_at=value("expires_at"),
            lease_until=value("lease_until"),
            held_until=value("held_until"),
            deliver_at=value("deliver_at"),
            mail_at=value("mail_at"),
        ),
    )
