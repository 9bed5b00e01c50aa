"""Records who did what to whose account, in the same unit of work as the deed itself."""

from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from ocmt_management.audit.models import AuditEvent
from ocmt_management.audit.repository import AuditRepository
from ocmt_management.clock import Clock

KEPT_FOR = timedelta(days=180)
_DETAIL_CHARACTERS = 300
_SUBJECT_CHARACTERS = 128


class Audit:
    def __init__(self, session: AsyncSession, clock: Clock) -> None:
        self._events = AuditRepository(session)
        self._clock = clock

    def record(
        self, action: str, *, user_id: str, actor: str, subject: str = "", detail: str = ""
    ) -> None:
        """Note one deed. `detail` never holds a secret; both texts are cut to a bound."""
        self._events.add(
            AuditEvent(
                at=self._clock(),
                actor=actor,
                user_id=user_id,
                action=action,
                subject=subject[:_SUBJECT_CHARACTERS],
                detail=detail[:_DETAIL_CHARACTERS],
            )
        )

    async def forget_old(self) -> None:
        await self._events.delete_before(self._clock() - KEPT_FOR)
