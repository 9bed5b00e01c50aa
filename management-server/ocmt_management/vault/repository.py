"""SQL of the vault. Every query but the rotation's is for one user, or for the server's own."""

from collections.abc import Sequence

from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from ocmt_management.vault.models import StoredDataKey, StoredSecret, StoredServerSecret


class VaultRepository:
    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def data_key(self, user_id: str) -> StoredDataKey | None:
        return await self._session.get(StoredDataKey, user_id)

    async def data_key_for_change(self, user_id: str) -> StoredDataKey | None:
        """The user's data key, locked to serialise changes to the secrets; `None` if none."""
        return await self._session.scalar(
            select(StoredDataKey).where(StoredDataKey.user_id == user_id).with_for_update()
        )

    async def add_data_key(self, row: StoredDataKey) -> bool:
        """Store a new data key; `False` if a concurrent request stored one first."""
        try:
            async with self._session.begin_nested():
                self._session.add(row)
        except IntegrityError:
            return False
        return True

    async def secret(self, user_id: str, name: str) -> StoredSecret | None:
        return await self._session.get(StoredSecret, (user_id, name))

    async def secret_and_key(
        self, user_id: str, name: str
    ) -> tuple[StoredSecret, StoredDataKey] | None:
        """A secret with its data key, by one query; `None` if there is none."""
        row = (
            await self._session.execute(
                select(StoredSecret, StoredDataKey)
                .join(StoredDataKey, StoredDataKey.user_id == StoredSecret.user_id)
                .where(StoredSecret.user_id == user_id, StoredSecret.name == name)
            )
        ).one_or_none()
        return None if row is None else (row[0], row[1])

    def add(self, row: StoredSecret) -> None:
        self._session.add(row)

    async def secrets(self, user_id: str) -> Sequence[StoredSecret]:
        rows = await self._session.scalars(
            select(StoredSecret).where(StoredSecret.user_id == user_id).order_by(StoredSecret.name)
        )
        return rows.all()

    async def delete(self, user_id: str, name: str) -> bool:
        deleted = await self._session.scalars(
            delete(StoredSecret)
            .where(StoredSecret.user_id == user_id, StoredSecret.name == name)
            .returning(StoredSecret.name)
        )
        return deleted.first() is not None

    async def delete_data_key(self, user_id: str) -> None:
        """Delete the user's data key and, by their foreign key, the user's secrets."""
        await self._session.execute(delete(StoredDataKey).where(StoredDataKey.user_id == user_id))

    async def data_keys_not_under(
        self, key_id: str, *, after: str, limit: int
    ) -> Sequence[StoredDataKey]:
        """Up to `limit` data keys that a key other than `key_id` wraps; locked.

        In the order of the users' ids, from the first after `after`.
        """
        rows = await self._session.scalars(
            select(StoredDataKey)
            .where(StoredDataKey.key_id != key_id, StoredDataKey.user_id > after)
            .order_by(StoredDataKey.user_id)
            .limit(limit)
            .with_for_update()
        )
        return rows.all()

    async def key_ids(self) -> dict[str, int]:
        """How many data keys, of users and of the server's secrets, each key wraps."""
        found: dict[str, int] = {}
        for table in (StoredDataKey, StoredServerSecret):
            rows = await self._session.execute(
                select(table.key_id, func.count()).group_by(table.key_id)
            )
            for key_id, count in rows:
                found[key_id] = found.get(key_id, 0) + count
        return found

    async def server_secret(self, name: str) -> StoredServerSecret | None:
        return await self._session.get(StoredServerSecret, name)

    async def put_server_secret(self, row: StoredServerSecret) -> None:
        await self._session.merge(row)

    async def delete_server_secret(self, name: str) -> bool:
        deleted = await self._session.scalars(
            delete(StoredServerSecret)
            .where(StoredServerSecret.name == name)
            .returning(StoredServerSecret.name)
        )
        return deleted.first() is not None

    async def server_secrets_not_under(self, key_id: str) -> Sequence[StoredServerSecret]:
        """The server's secrets whose data key a key other than `key_id` wraps; locked."""
        rows = await self._session.scalars(
            select(StoredServerSecret).where(StoredServerSecret.key_id != key_id).with_for_update()
        )
        return rows.all()
