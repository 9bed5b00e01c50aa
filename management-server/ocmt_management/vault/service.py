"""The vault: put, get, list and delete a user's secrets, and shred them all.

Other domains store credentials under a namespaced name (`model:openai`); names without a colon are
the user's own. Each read of a value is audited with its reason, by `get` or by the caller of `use`.

`seal` encrypts, under the same data key, values that other domains store in their tables. Rotating
`VAULT_KEY` rewraps only the data key, so sealed values do not change; `shred` makes them
unreadable.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ocmt_common.problems import Problem
from sqlalchemy.ext.asyncio import AsyncSession

from ocmt_management.audit.service import Audit
from ocmt_management.clock import Clock
from ocmt_management.vault.keys import DataKey, KeyRing
from ocmt_management.vault.models import StoredDataKey, StoredSecret
from ocmt_management.vault.repository import VaultRepository
from ocmt_management.vault.secret_value import SecretValue
from ocmt_management.vault.server_secrets import ServerVault

__all__ = ["KeyRing", "SecretInfo", "SecretValue", "ServerVault", "Vault"]

MAX_SECRET_CHARACTERS = 16_384
MAX_SECRETS_PER_USER = 200
OWN = ""
"""The namespace of the user's own secrets, whose names have no colon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretInfo:
    """The parts of a secret that may be shown."""

    name: str
    hint: str | None
    updated_at: datetime


class Vault:
    """The vault within one transaction. Every method takes the user id first."""

    def __init__(self, session: AsyncSession, keys: KeyRing, clock: Clock) -> None:
        self._rows = VaultRepository(session)
        self._keys = keys
        self._clock = clock
        self._audit = Audit(session, clock)

    async def put(self, user_id: str, name: str, value: SecretValue, *, actor: str) -> SecretInfo:
        """Store `value` under `name`, replacing any earlier value. Needs a writing transaction.

        Raises `Problem` if the user has too many secrets or no longer exists.
        """
        key = await self._key_for_change(user_id)
        now = self._clock()
        row = await self._rows.secret(user_id, name)
        if row is None:
            if len(await self._rows.secrets(user_id)) >= MAX_SECRETS_PER_USER:
                raise Problem(
                    409,
                    "too-many-secrets",
                    f"You have stored the maximum of {MAX_SECRETS_PER_USER} keys. Remove a model "
                    "key, a tool server or a connection first.",
                )
            row = StoredSecret(user_id=user_id, name=name, version=0)
            self._rows.add(row)
        row.version += 1
        row.sealed = key.encrypt(value.reveal(), name=name, version=row.version)
        row.hint = value.hint
        row.updated_at = now
        self._audit.record("secret.put", user_id=user_id, actor=actor, subject=name)
        return SecretInfo(name=name, hint=row.hint, updated_at=now)

    async def get(self, user_id: str, name: str, *, actor: str, reason: str) -> SecretValue | None:
        """The secret's value, or `None`. Audited, so it needs a writing transaction."""
        value = await self.use(user_id, name)
        if value is not None:
            self.record_use(user_id, name, actor=actor, reason=reason)
        return value

    async def use(self, user_id: str, name: str) -> SecretValue | None:
        """The secret's value, or `None`, without an audit event.

        For callers that cannot afford a write per use: they must call `record_use` later. Raises
        `Problem` if the value cannot be decrypted.
        """
        found = await self._rows.secret_and_key(user_id, name)
        if found is None:
            return None
        row, stored = found
        key = self._unwrap(stored)
        return SecretValue(key.decrypt(row.sealed, name=name, version=row.version))

    def record_use(self, user_id: str, name: str, *, actor: str, reason: str) -> None:
        """Record in the audit trail that the secret was read."""
        self._audit.record("secret.read", user_id=user_id, actor=actor, subject=name, detail=reason)

    async def hint(self, user_id: str, name: str) -> SecretInfo | None:
        """A secret's name, hint and date, without decrypting it; `None` if it does not exist."""
        row = await self._rows.secret(user_id, name)
        return None if row is None else _info(row)

    async def list(self, user_id: str, *, namespace: str = OWN) -> Sequence[SecretInfo]:
        """The secrets of one namespace (`model` for `model:…`), by name, without their values."""
        rows = await self._rows.secrets(user_id)
        return [_info(row) for row in rows if _namespace(row.name) == namespace]

    async def delete(self, user_id: str, name: str, *, actor: str) -> bool:
        """Delete a secret. Returns whether it existed."""
        deleted = await self._rows.delete(user_id, name)
        if deleted:
            self._audit.record("secret.delete", user_id=user_id, actor=actor, subject=name)
        return deleted

    async def seal(self, user_id: str, value: bytes, *, purpose: str) -> bytes:
        """Encrypt `value` with the user's data key. Needs a writing transaction."""
        return (await self._key_for_change(user_id)).seal(value, purpose=purpose)

    async def unseal(self, user_id: str, sealed: bytes, *, purpose: str) -> bytes | None:
        """Decrypt a value sealed for this purpose; `None` if the user's data key is shredded."""
        stored = await self._rows.data_key(user_id)
        return None if stored is None else self._unwrap(stored).unseal(sealed, purpose=purpose)

    async def digest(self, user_id: str, value: bytes, *, purpose: str) -> bytes:
        """A digest to find equal values of one user. Needs a writing transaction."""
        return (await self._key_for_change(user_id)).digest(value, purpose=purpose)

    async def shred(self, user_id: str, *, actor: str) -> None:
        """Delete the user's data key, so that their secrets can never be decrypted again."""
        await self._rows.delete_data_key(user_id)
        self._audit.record("secret.shred", user_id=user_id, actor=actor)

    async def _key_for_change(self, user_id: str) -> DataKey:
        stored = await self._rows.data_key_for_change(user_id)
        if stored is None:
            key, wrapped = self._keys.new_data_key(user_id)
            fresh = StoredDataKey(
                user_id=user_id,
                key_id=self._keys.current_id,
                wrapped=wrapped,
                created_at=self._clock(),
            )
            if await self._rows.add_data_key(fresh):
                return key
            stored = await self._rows.data_key_for_change(user_id)
            if stored is None:
                raise Problem(404, "user-unknown", "This user no longer exists.")
        return self._unwrap(stored)

    def _unwrap(self, stored: StoredDataKey) -> DataKey:
        return self._keys.unwrap(stored.wrapped, key_id=stored.key_id, user_id=stored.user_id)


def _info(row: StoredSecret) -> SecretInfo:
    return SecretInfo(name=row.name, hint=row.hint, updated_at=row.updated_at)


def _namespace(name: str) -> str:
    return name.rpartition(":")[0]
