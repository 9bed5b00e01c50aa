"""With which key, and at which address, a user's requests reach a provider.

The user's own key or server comes first; else the one that an admin shares with them, if any.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy.ext.asyncio import AsyncSession

from ocmt_management.clock import Clock
from ocmt_management.llm.budgets import Limits
from ocmt_management.llm.providers import Provider
from ocmt_management.llm.repository import ModelRepository
from ocmt_management.llm.shared_keys_repository import SharedKeyRepository, limits_of
from ocmt_management.vault.service import KeyRing, SecretValue, ServerVault, Vault


@dataclass(frozen=True, slots=True)
class Access:
    key: SecretValue | None
    """`None` for a server that needs none."""
    server: str | None = None
    """The address of an own server."""
    shared: bool = False
    limits: Limits = field(default_factory=Limits)
    """Of a shared key, for this user."""

    @property
    def mask(self) -> Mapping[str, str]:
        """What takes the key's place in texts of the provider."""
        return {} if self.key is None else {self.key.reveal(): "•••"}


class ProviderAccess:
    """One user's access, within one transaction."""

    def __init__(self, session: AsyncSession, keys: KeyRing, clock: Clock, user_id: str) -> None:
        self._rows = ModelRepository(session)
        self._shared = SharedKeyRepository(session)
        self._vault = Vault(session, keys, clock)
        self._server_vault = ServerVault(session, keys, clock)
        self._user_id = user_id

    async def to(self, provider: Provider) -> Access | None:
        """The access, or `None` without one. The caller audits the uses of the key."""
        own = await self.own(provider)
        return own if own is not None else await self._granted(provider)

    async def own(self, provider: Provider) -> Access | None:
        """The access by the user's own key or server."""
        server = await self._rows.own_server(self._user_id) if provider.own else None
        if provider.own and server is None:
            return None
        key = await self._vault.use(self._user_id, provider.secret_name)
        return None if key is None and not provider.own else Access(key, server)

    def record_use(self, provider: Provider, access: Access, *, actor: str, reason: str) -> None:
        """Audit that the key was used."""
        if access.key is None:
            return
        if access.shared:
            self._server_vault.record_use(
                provider.shared_secret_name, user_id=self._user_id, actor=actor, reason=reason
            )
        else:
            self._vault.record_use(self._user_id, provider.secret_name, actor=actor, reason=reason)

    async def _granted(self, provider: Provider) -> Access | None:
        row = await self._shared.granted(provider.id, self._user_id)
        if row is None:
            return None
        key = await self._server_vault.use(provider.shared_secret_name)
        if key is None and not provider.own:
            return None
        return Access(key, row.url, shared=True, limits=limits_of(row))
