"""SQL of push subscriptions. Every query names a user."""

from collections.abc import Collection, Sequence

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from ocmt_management.auth.service import lock_user
from ocmt_management.notifications.models import PushSubscription


class SubscriptionRepository:
    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def replace(self, row: PushSubscription) -> None:
        """Store a device's subscription in place of an earlier one.

        Locks the user's row, since the tabs of a device may do so at once.
        """
        await lock_user(self._session, row.user_id)
        await self.delete(row.user_id, row.session_id)
        self._session.add(row)

    async def delete(self, user_id: str, session_id: str) -> None:
        await self._session.execute(
            delete(PushSubscription).where(
                PushSubscription.user_id == user_id, PushSubscription.session_id == session_id
            )
        )

    async def delete_dead(self, user_id: str, session_id: str, endpoint: str) -> None:
        """Delete a subscription that its push service ended, unless there is another by now."""
        await self._session.execute(
            delete(PushSubscription).where(
                PushSubscription.user_id == user_id,
                PushSubscription.session_id == session_id,
                PushSubscription.endpoint == endpoint,
            )
        )

    async def of_sessions(
        self, user_id: str, session_ids: Collection[str]
    ) -> Sequence[PushSubscription]:
        rows = await self._session.scalars(
            select(PushSubscription)
            .where(
                PushSubscription.user_id == user_id, PushSubscription.session_id.in_(session_ids)
            )
            .order_by(PushSubscription.created_at.desc())
        )
        return rows.all()
