"""SQL of integrations. Every query for a user names the user whose rows it touches."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from ocmt_management.integrations.models import ConnectedAccount, OAuthClient, OAuthFlow


class IntegrationRepository:
    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    # Connections

    async def connections(self, user_id: str) -> Sequence[ConnectedAccount]:
        rows = await self._session.scalars(
            select(ConnectedAccount)
            .where(ConnectedAccount.user_id == user_id)
            .order_by(ConnectedAccount.provider, ConnectedAccount.account)
        )
        return rows.all()

    async def connection(self, user_id: str, connection_id: str) -> ConnectedAccount | None:
        return await self._session.scalar(
            select(ConnectedAccount).where(
                ConnectedAccount.user_id == user_id, ConnectedAccount.id == connection_id
            )
        )

    async def connection_for_change(
        self, user_id: str, connection_id: str
    ) -> ConnectedAccount | None:
        """The connection, locked until the transaction ends; `None` if there is none."""
        return await self._session.scalar(
            select(ConnectedAccount)
            .where(ConnectedAccount.user_id == user_id, ConnectedAccount.id == connection_id)
            .with_for_update()
        )

    async def of_account(
        self, user_id: str, provider: str, account_id: str
    ) -> ConnectedAccount | None:
        return await self._session.scalar(
            select(ConnectedAccount)
            .where(
                ConnectedAccount.user_id == user_id,
                ConnectedAccount.provider == provider,
                ConnectedAccount.account_id == account_id,
            )
            .with_for_update()
        )

    async def people(self) -> dict[str, int]:
        """How many users have connected each provider, for admins."""
        rows = await self._session.execute(
            select(
                ConnectedAccount.provider, func.count(func.distinct(ConnectedAccount.user_id))
            ).group_by(ConnectedAccount.provider)
        )
        return {provider: count for provider, count in rows}

    def add(self, row: OAuthFlow | OAuthClient) -> None:
        self._session.add(row)

    async def add_connection(self, row: ConnectedAccount) -> None:
        """Store a connection, so that other rows can refer to it."""
        self._session.add(row)
        await self._session.flush()

    async def change(self, row: ConnectedAccount, **values: Any) -> None:
        """Change a connection that was read for change."""
        changed = (
            update(ConnectedAccount)
            .where(ConnectedAccount.user_id == row.user_id, ConnectedAccount.id == row.id)
            .values(**values)
            .returning(ConnectedAccount)
        )
        options = {"synchronize_session": False, "populate_existing": True}
        await self._session.scalar(changed.execution_options(**options))

    async def delete_connection(self, user_id: str, connection_id: str) -> bool:
        deleted = await self._session.scalars(
            delete(ConnectedAccount)
            .where(ConnectedAccount.user_id == user_id, ConnectedAccount.id == connection_id)
            .returning(ConnectedAccount.id)
        )
        return deleted.first() is not None

    async def take_lease(
        self, user_id: str, connection_id: str, *, version: int, by: str, now: datetime,
        until: datetime,
    ) -> bool:  # fmt: skip
        """Take the lease to refresh; `False` if it is taken, or the tokens have changed."""
        return await self._changed(
            user_id,
            connection_id,
            ConnectedAccount.token_version == version,
            or_(ConnectedAccount.lease_until.is_(None), ConnectedAccount.lease_until <= now),
            lease_by=by,
            lease_until=until,
        )

    async def release_lease(self, user_id: str, connection_id: str, *, by: str) -> None:
        await self._changed(
            user_id,
            connection_id,
            ConnectedAccount.lease_by == by,
            lease_by=None,
            lease_until=None,
        )

    async def store_tokens(
        self, user_id: str, connection_id: str, *, version: int, **values: Any
    ) -> bool:
        """Store new tokens in place of those of `version`; `False` if those are gone.

        The lease does not matter: tokens that a provider gave are kept however late they come.
        """
        return await self._changed(
            user_id,
            connection_id,
            ConnectedAccount.token_version == version,
            token_version=version + 1,
            lease_by=None,
            lease_until=None,
            **values,
        )

    async def note(self, user_id: str, connection_id: str, **values: Any) -> None:
        await self._changed(user_id, connection_id, **values)

    async def _changed(
        self, user_id: str, connection_id: str, *conditions: Any, **values: Any
    ) -> bool:
        changed = await self._session.scalars(
            update(ConnectedAccount)
            .where(
                ConnectedAccount.user_id == user_id,
                ConnectedAccount.id == connection_id,
                *conditions,
            )
            .values(**values)
            .returning(ConnectedAccount.id)
            .execution_options(synchronize_session=False)
        )
        return changed.first() is not None

    # Flows

    async def open_flows(self, user_id: str, now: datetime) -> int:
        found = await self._session.scalar(
            select(func.count())
            .select_from(OAuthFlow)
            .where(
                OAuthFlow.user_id == user_id,
                OAuthFlow.used_at.is_(None),
                OAuthFlow.expires_at > now,
            )
        )
        return found or 0

    async def use_flow(
        self, user_id: str, session_id: str, state_hash: bytes, now: datetime
    ) -> OAuthFlow | None:
        """Mark a flow as used and return it.

        `None` unless this session began it, and it is unused and has not expired.
        """
        return await self._session.scalar(
            update(OAuthFlow)
            .where(
                OAuthFlow.state_hash == state_hash,
                OAuthFlow.user_id == user_id,
                OAuthFlow.session_id == session_id,
                OAuthFlow.used_at.is_(None),
                OAuthFlow.expires_at > now,
            )
            .values(used_at=now)
            .returning(OAuthFlow)
            .execution_options(synchronize_session=False)
        )

    async def delete_flows_before(self, before: datetime) -> None:
        await self._session.execute(delete(OAuthFlow).where(OAuthFlow.expires_at < before))

    # The operator's clients

    async def clients(self) -> Sequence[OAuthClient]:
        return (
            await self._session.scalars(select(OAuthClient).order_by(OAuthClient.provider))
        ).all()

    async def clients_for_change(self) -> Sequence[OAuthClient]:
        """All clients, locked until the transaction ends."""
        rows = await self._session.scalars(
            select(OAuthClient).order_by(OAuthClient.provider).with_for_update()
        )
        return rows.all()

    async def client_key_ids(self) -> dict[str, int]:
        """How many clients' secrets each key seals."""
        rows = await self._session.execute(
            select(OAuthClient.key_id, func.count())
            .where(OAuthClient.secret.is_not(None))
            .group_by(OAuthClient.key_id)
        )
        return {key_id: count for key_id, count in rows}

    async def client(self, provider: str) -> OAuthClient | None:
        return await self._session.get(OAuthClient, provider)

    async def delete_client(self, provider: str) -> bool:
        deleted = await self._session.scalars(
            delete(OAuthClient)
            .where(OAuthClient.provider == provider)
            .returning(OAuthClient.provider)
        )
        return deleted.first() is not None
