"""Records actions on accounts and secrets, in the same transaction as the action itself."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from ocmt_management.audit.models import AuditEvent
from ocmt_management.audit.repository import AuditRepository
from ocmt_management.audit.throttle import AuditThrottle
from ocmt_management.clock import Clock
from ocmt_management.db import Database

__all__ = [
    "KEPT_FOR",
    "STRANGER",
    "Audit",
    "AuditEvent",
    "AuditThrottle",
    "client_of_request",
    "trail",
]

KEPT_FOR = timedelta(days=180)
_DETAIL_CHARACTERS = 300
_SUBJECT_CHARACTERS = 128
_CLIENT_CHARACTERS = 64
_BATCH = 500
STRANGER = "stranger"


class Audit:
    def __init__(self, session: AsyncSession, clock: Clock) -> None:
        self._events = AuditRepository(session)
        self._clock = clock

    def record(
        self, action: str, *, user_id: str, actor: str, subject: str = "", detail: str = ""
    ) -> None:
        """Add an event. `detail` must not hold a secret; long texts are truncated."""
        self._events.add(
            AuditEvent(
                at=self._clock(),
                actor=actor,
                user_id=user_id,
                action=action,
                subject=subject[:_SUBJECT_CHARACTERS],
                detail=detail[:_DETAIL_CHARACTERS],
                client=client_of_request(),
            )
        )

    async def latest(
        self, *, limit: int, before: int | None = None, user_id: str | None = None
    ) -> Sequence[AuditEvent]:
        """A page of events, newest first; `before` is the last id of the previous page."""
        return await self._events.latest(limit=limit, before=before, user_id=user_id)

    async def delete_old(self) -> None:
        await self._events.delete_before(self._clock() - KEPT_FOR)


async def trail(
    database: Database, *, since: datetime | None = None, user_id: str | None = None
) -> AsyncIterator[Sequence[AuditEvent]]:
    """The audit trail in batches, oldest first; no transaction stays open between batches."""
    after = 0
    while True:
        async with database.read() as session:
            batch = await AuditRepository(session).following(
                limit=_BATCH, after=after, since=since, user_id=user_id
            )
        if not batch:
            return
        yield batch
        after = batch[-1].id


def client_of_request() -> str:
    """The client of the current request, as in the access log; empty outside of one."""
    found = str(structlog.contextvars.get_contextvars().get("client", ""))
    return found[:_CLIENT_CHARACTERS]
