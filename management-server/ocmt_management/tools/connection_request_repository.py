"""SQL of connection requests. Every query names the user, except `due` and the housekeeping's."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from ocmt_management.auth.service import Status, User
from ocmt_management.tools.models import ConnectionRequest, Wanted


class ConnectionRequestRepository:
    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    def add(self, row: ConnectionRequest) -> None:
        self._session.add(row)

    async def waiting(self, user_id: str, now: datetime) -> Sequence[ConnectionRequest]:
        """The user's requests that wait, those that end first in front."""
        rows = await self._session.scalars(
            select(ConnectionRequest)
            .where(
                ConnectionRequest.user_id == user_id,
                ConnectionRequest.deliver_at.is_(None),
                ConnectionRequest.expires_at > now,
            )
            .order_by(ConnectionRequest.expires_at)
        )
        return rows.all()

    async def fulfil(
        self, user_id: str, kind: Wanted, wanted: str, *, now: datetime, connected: str
    ) -> None:
        """Make those that wait for this, or for any of the kind, due."""
        await self._session.execute(
            update(ConnectionRequest)
            .where(
                ConnectionRequest.user_id == user_id,
                ConnectionRequest.kind == kind,
                or_(ConnectionRequest.wanted == wanted, ConnectionRequest.wanted == ""),
                ConnectionRequest.deliver_at.is_(None),
                ConnectionRequest.expires_at > now,
            )
            .values(connected=connected, deliver_at=now)
            .execution_options(synchronize_session=False)
        )

    async def due(self, now: datetime, *, limit: int) -> Sequence[str]:
        """The active users with requests that are due, those that have been so longest first."""
        rows = await self._session.scalars(
            select(ConnectionRequest.user_id)
            .join(User, User.id == ConnectionRequest.user_id)
            .where(ConnectionRequest.deliver_at <= now, User.status == Status.ACTIVE)
            .group_by(ConnectionRequest.user_id)
            .order_by(func.min(ConnectionRequest.deliver_at))
            .limit(limit)
        )
        return rows.all()

    async def due_of(self, user_id: str, now: datetime) -> Sequence[ConnectionRequest]:
        rows = await self._session.scalars(
            select(ConnectionRequest)
            .where(ConnectionRequest.user_id == user_id, ConnectionRequest.deliver_at <= now)
            .order_by(ConnectionRequest.deliver_at)
        )
        return rows.all()

    async def delete(self, user_id: str, request_id: str) -> None:
        await self._session.execute(
            delete(ConnectionRequest).where(
                ConnectionRequest.user_id == user_id, ConnectionRequest.id == request_id
            )
        )

    async def delete_before(self, moment: datetime) -> None:
        """Delete all users' requests that expired before `moment`."""
        await self._session.execute(
            delete(ConnectionRequest).where(ConnectionRequest.expires_at < moment)
        )
