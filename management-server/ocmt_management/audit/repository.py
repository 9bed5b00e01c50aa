"""SQL of the audit trail."""

from datetime import datetime

from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncSession

from ocmt_management.audit.models import AuditEvent


class AuditRepository:
    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    def add(self, event: AuditEvent) -> None:
        self._session.add(event)

    async def delete_before(self, moment: datetime) -> None:
        await self._session.execute(delete(AuditEvent).where(AuditEvent.at < moment))
