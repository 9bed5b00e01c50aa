"""The providers that admins provide to users, with a key that no user sees."""

from ocmt_common.problems import Problem
from sqlalchemy.ext.asyncio import AsyncSession

from ocmt_management.audit.service import Audit
from ocmt_management.auth.service import email_addresses_of, existing_users
from ocmt_management.clock import Clock
from ocmt_management.llm.budgets import NANO, day_of
from ocmt_management.llm.catalogue import KeyCheck
from ocmt_management.llm.models import SharedKey
from ocmt_management.llm.provider_access import Access
from ocmt_management.llm.providers import PROVIDERS, Provider, ProviderId
from ocmt_management.llm.repository import UTC_ZONE
from ocmt_management.llm.schemas import (
    ProviderName,
    SharedKeyRequest,
    SharedKeyRow,
    SharedKeysAnswer,
    SharedKeyUserRow,
)
from ocmt_management.llm.shared_keys_repository import SharedKeyRepository
from ocmt_management.llm.usage_schemas import nano
from ocmt_management.vault.service import KeyRing, SecretValue, ServerVault


class SharedKeys:
    """Reads and changes shared keys for an admin, within one transaction."""

    def __init__(self, session: AsyncSession, keys: KeyRing, clock: Clock, admin_id: str) -> None:
        self._session = session
        self._rows = SharedKeyRepository(session)
        self._vault = ServerVault(session, keys, clock)
        self._audit = Audit(session, clock)
        self._clock = clock
        self._admin_id = admin_id

    async def answer(self, *, key_check: KeyCheck | None = None) -> SharedKeysAnswer:
        users = await self._rows.users()
        everybody = {one for chosen in users.values() for one in chosen}
        emails = await email_addresses_of(self._session, everybody)
        return SharedKeysAnswer(
            keys=[
                await self._row(row, users.get(row.provider, []), emails)
                for row in await self._rows.all()
            ],
            providers=[
                ProviderName(id=provider.id, name=provider.name)
                for provider in PROVIDERS.values()
                if provider.id is not ProviderId.DEMO
            ],
            key_check=key_check,
        )

    async def put(self, provider: Provider, request: SharedKeyRequest, server: str | None) -> None:
        """Set who may use a provider's key, and with which limit; without a `key` it stays.

        `server` is the checked address of an own server.
        """
        existing = await self._rows.one(provider.id, lock=True)
        kept_server = None if existing is None else existing.url
        await self._put_key(provider, request, moved=server is not None and server != kept_server)
        if provider.own and server is None and kept_server is None:
            raise Problem(422, "url-missing", "Give the address of the server.")
        users = set(request.user_ids)
        if unknown := users - await existing_users(self._session, users):
            raise Problem(
                422, "user-unknown", f"{sorted(unknown)[0]} is no user. Reload the list of people."
            )
        await self._rows.put(
            SharedKey(
                provider=provider.id,
                url=server or kept_server,
                everyone=request.everyone,
                suspended=request.suspended,
                day_hard=nano(request.day_usd),
                month_hard=nano(request.month_usd),
                updated_at=self._clock(),
            ),
            users,
        )
        who = "everyone" if request.everyone else f"{len(users)} people"
        self._record(provider, f"{who}, suspended" if request.suspended else who)

    async def delete(self, provider: Provider) -> None:
        if not await self._rows.delete(provider.id):
            raise Problem(404, "key-unknown", f"No {provider.name} key is shared.")
        await self._vault.delete(provider.shared_secret_name, actor=self._admin_id)
        self._record(provider, "nobody")

    async def stored_access(self, provider: Provider) -> Access:
        """The stored key and address, to check a change of one of them."""
        row = await self._rows.one(provider.id)
        key = await self._vault.use(provider.shared_secret_name)
        return Access(key, None if row is None else row.url, shared=True)

    async def _put_key(self, provider: Provider, request: SharedKeyRequest, *, moved: bool) -> None:
        name = provider.shared_secret_name
        if request.key is not None:
            value = SecretValue(request.key.get_secret_value())
            await self._vault.put(name, value, actor=self._admin_id)
        elif provider.own:
            if moved:  # a key is for the server that it was given for
                await self._vault.delete(name, actor=self._admin_id)
        elif not await self._vault.has(name):
            raise Problem(422, "key-missing", f"Add the {provider.name} key to share.")

    async def _row(self, row: SharedKey, users: list[str], emails: dict[str, str]) -> SharedKeyRow:
        provider = PROVIDERS[ProviderId(row.provider)]
        today = day_of(self._clock(), UTC_ZONE)
        spent = await self._rows.spent(row.provider, day=today, user_id=None)
        hint = await self._vault.hint(provider.shared_secret_name)
        return SharedKeyRow(
            provider=provider.id,
            name=provider.name,
            key_hint=None if hint is None else f"…{hint}",
            url=row.url,
            everyone=row.everyone,
            suspended=row.suspended,
            users=[SharedKeyUserRow(user_id=one, email=emails.get(one, "")) for one in users],
            day_usd=None if row.day_hard is None else row.day_hard / NANO,
            month_usd=None if row.month_hard is None else row.month_hard / NANO,
            month_spent_usd=spent.month / NANO,
        )

    def _record(self, provider: Provider, detail: str) -> None:
        self._audit.record(
            "model.share",
            user_id=self._admin_id,
            actor=self._admin_id,
            subject=provider.id,
            detail=detail,
        )
