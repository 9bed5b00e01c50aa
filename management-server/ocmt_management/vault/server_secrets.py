"""Secrets of the server that an admin gives and users use without seeing them."""

from sqlalchemy.ext.asyncio import AsyncSession

from ocmt_management.audit.service import Audit
from ocmt_management.clock import Clock
from ocmt_management.vault.keys import KeyRing
from ocmt_management.vault.models import StoredServerSecret
from ocmt_management.vault.repository import VaultRepository
from ocmt_management.vault.secret_value import SecretValue

_VERSION = 1
"""Each value has a data key of its own."""


def owner(name: str) -> str:
    """In the place of a user's id, which never has a colon."""
    return f"server:{name}"


class ServerVault:
    """The server's secrets, within one transaction."""

    def __init__(self, session: AsyncSession, keys: KeyRing, clock: Clock) -> None:
        self._rows = VaultRepository(session)
        self._keys = keys
        self._clock = clock
        self._audit = Audit(session, clock)

    async def put(self, name: str, value: SecretValue, *, actor: str) -> None:
        """Store `value` under `name`, replacing any earlier value."""
        key, wrapped = self._keys.new_data_key(owner(name))
        await self._rows.put_server_secret(
            StoredServerSecret(
                name=name,
                key_id=self._keys.current_id,
                wrapped=wrapped,
                sealed=key.encrypt(value.reveal(), name=name, version=_VERSION),
                hint=value.hint,
                updated_at=self._clock(),
            )
        )
        self._audit.record("secret.put", user_id=actor, actor=actor, subject=name)

    async def use(self, name: str) -> SecretValue | None:
        """The value, unaudited: the caller must call `record_use` later for all uses."""
        row = await self._rows.server_secret(name)
        if row is None:
            return None
        key = self._keys.unwrap(row.wrapped, key_id=row.key_id, user_id=owner(name))
        return SecretValue(key.decrypt(row.sealed, name=name, version=_VERSION))

    def record_use(self, name: str, *, user_id: str, actor: str, reason: str) -> None:
        """Audit that the secret was used for a user."""
        self._audit.record("secret.read", user_id=user_id, actor=actor, subject=name, detail=reason)

    async def has(self, name: str) -> bool:
        return await self._rows.server_secret(name) is not None

    async def hint(self, name: str) -> str | None:
        """The last characters of a value; `None` if there is none, or it is short."""
        row = await self._rows.server_secret(name)
        return None if row is None else row.hint

    async def delete(self, name: str, *, actor: str) -> None:
        if await self._rows.delete_server_secret(name):
            self._audit.record("secret.delete", user_id=actor, actor=actor, subject=name)
