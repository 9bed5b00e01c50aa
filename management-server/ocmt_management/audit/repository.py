"""SQL of the audit trail."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, delete, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from ocmt_management.audit.models import AuditEvent


class AuditRepository:
    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    def add(self, event: AuditEvent) -> None:
        self._session.add(event)

    async def latest(
        self, *, limit: int, before: int | None, user_id: str | None
    ) -> Sequence[AuditEvent]:
        """The `limit` newest events with ids below `before`, newest first.

        With `user_id`, only events about or by this user.
        """
        query = select(AuditEvent).order_by(AuditEvent.id.desc()).limit(limit)
        if before is not None:
            query = query.where(AuditEvent.id < before)
        return (await self._session.scalars(query.where(*_of(user_id)))).all()

    async def following(
        self, *, limit: int, after: int, since: datetime | None, user_id: str | None
    ) -> Sequence[AuditEvent]:
        """The first `limit` events with ids above `after`, oldest first."""
        query = select(AuditEvent).order_by(AuditEvent.id).limit(limit)
        query = query.where(AuditEvent.id > after, *_of(user_id))
        if since is not None:
            query = query.where(AuditEvent.at >= since)
        return (await self._session.scalars(query)).all()

    async def delete_before(self, moment: datetime) -> None:
        await self._session.execute(delete(AuditEvent).where(AuditEvent.at < moment))


def _of(user_id: str | None) -> tuple[ColumnElement[bool], ...]:
    if user_id is None:
        return ()
    return (or_(AuditEvent.user_id == user_id, AuditEvent.actor == user_id),)
