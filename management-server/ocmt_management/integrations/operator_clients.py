"""The operator's client at each provider: from the setting OAUTH_CLIENTS, or the admin page.

The setting wins. Secrets of the page are sealed with the installation's key, not with a user's.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import structlog
from ocmt_common.problems import Problem
from sqlalchemy.ext.asyncio import AsyncSession

from ocmt_management.audit.service import Audit
from ocmt_management.clock import Clock
from ocmt_management.db import Database
from ocmt_management.integrations.catalogue import OWN, shipped
from ocmt_management.integrations.models import OAuthClient
from ocmt_management.integrations.oauth_protocol import Client
from ocmt_management.integrations.provider_schema import Kind, Provider
from ocmt_management.integrations.repository import IntegrationRepository
from ocmt_management.vault.service import KeyRing, SecretValue

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """A provider with the operator's client there."""

    provider: Provider
    client: Client
    from_setting: bool


class OperatorClients:
    """Within one transaction. `settings` are the clients of OAUTH_CLIENTS."""

    def __init__(
        self,
        session: AsyncSession,
        keys: KeyRing,
        clock: Clock,
        settings: Mapping[str, tuple[str, str]],
    ) -> None:
        self._rows = IntegrationRepository(session)
        self._audit = Audit(session, clock)
        self._keys = keys
        self._clock = clock
        self._settings = settings

    async def registered(self) -> dict[str, Registered]:
        """Every provider that has a client, by its id. Raises `Problem` if the vault does."""
        rows = {row.provider: row for row in await self._rows.clients()}
        found: dict[str, Registered] = {}
        for provider_id in shipped():
            one = self._registered(provider_id, rows.get(provider_id))
            if one is not None:
                found[provider_id] = one
        return found

    async def get(self, provider_id: str) -> Registered | None:
        return self._registered(provider_id, await self._rows.client(provider_id))

    async def put(
        self,
        provider_id: str,
        *,
        client_id: str,
        secret: SecretValue | None,
        definition: Provider | None,
        actor: str,
    ) -> None:
        """Store a client; without a `secret` the stored one, if any, is kept.

        Raises `Problem`, also if the stored one would be sent to another address than before.
        """
        if provider_id in self._settings:
            raise _in_settings()
        provider = shipped().get(provider_id)
        if provider is None or provider.kind is Kind.KEY:
            raise unknown_provider()
        if (provider_id == OWN) != (definition is not None):
            raise Problem(
                422,
                "endpoints-wrong",
                "Endpoints are entered for the own provider, and only there.",
            )
        row = await self._rows.client(provider_id)
        if row is None:
            row = OAuthClient(provider=provider_id, key_id=self._keys.current_id)
            self._rows.add(row)
        if secret is None and row.secret is not None and definition is not None:
            before = _stored_definition(row)
            if before is None or not _secret_urls(definition) <= _secret_urls(before):
                raise Problem(
                    422,
                    "client-secret-needed",
                    "The token or revocation address changed. Enter the client secret, too: the "
                    "stored one is not sent to another address.",
                )
        row.client_id = client_id
        row.updated_at = self._clock()
        if secret is not None:
            row.key_id = self._keys.current_id
            row.secret = self._keys.seal(secret.reveal().encode(), purpose=_purpose(provider_id))
        if definition is not None:
            row.definition = definition.model_dump_json().encode()
        self._audit.record("oauth-client.put", user_id=actor, actor=actor, subject=provider_id)

    async def delete(self, provider_id: str, *, actor: str) -> None:
        if provider_id in self._settings:
            raise _in_settings()
        if not await self._rows.delete_client(provider_id):
            raise Problem(404, "client-unknown", "This provider has no client.")
        self._audit.record("oauth-client.delete", user_id=actor, actor=actor, subject=provider_id)

    def _registered(self, provider_id: str, row: OAuthClient | None) -> Registered | None:
        provider = shipped().get(provider_id)
        if provider is None:
            return None
        if provider_id in self._settings:
            client_id, secret = self._settings[provider_id]
            client = Client(id=client_id, secret=SecretValue(secret) if secret else None)
            return Registered(provider=provider, client=client, from_setting=True)
        if row is None:
            return None
        provider = _stored_definition(row) or provider
        value = None
        if row.secret is not None:
            purpose = _purpose(provider_id)
            opened = self._keys.unseal(row.secret, key_id=row.key_id, purpose=purpose)
            value = SecretValue(opened.decode())
        client = Client(id=row.client_id, secret=value)
        return Registered(provider=provider, client=client, from_setting=False)


def client_for(provider: Provider, registered: Registered | None) -> Client | None:
    """The operator's client for a provider as it was when an account was connected.

    `None` if there is none, or if its secret is not meant for that provider's addresses (any more).
    """
    if registered is None:
        return None
    known = _secret_urls(provider) <= _secret_urls(registered.provider)
    return registered.client if known else None


async def reseal_clients(database: Database, keys: KeyRing) -> int:
    """Encrypt with the first key of VAULT_KEY what an older one sealed. Returns how many clients.

    A secret that cannot be decrypted is logged and left.
    """
    moved = 0
    async with database.write() as session:
        for row in await IntegrationRepository(session).clients_for_change():
            if row.key_id == keys.current_id:
                continue
            if row.secret is not None:
                purpose = _purpose(row.provider)
                try:
                    value = keys.unseal(row.secret, key_id=row.key_id, purpose=purpose)
                except Problem as problem:
                    log.error("client not resealed", provider=row.provider, cure=problem.detail)
                    continue
                row.secret = keys.seal(value, purpose=purpose)
            row.key_id = keys.current_id
            moved += 1
    return moved


async def client_key_ids(session: AsyncSession) -> dict[str, int]:
    """How many clients' secrets each key of VAULT_KEY seals."""
    return await IntegrationRepository(session).client_key_ids()


def unknown_provider() -> Problem:
    return Problem(404, "provider-unknown", "There is no such provider.")


def _secret_urls(provider: Provider) -> set[str]:
    """The addresses that a client's secret is sent to."""
    oauth = provider.oauth
    if oauth is None:
        return set()
    revocation = oauth.revocation.url
    return {oauth.token_url} | ({revocation} if revocation is not None else set())


def _stored_definition(row: OAuthClient) -> Provider | None:
    return None if row.definition is None else Provider.model_validate_json(row.definition)


def _in_settings() -> Problem:
    return Problem(
        409,
        "client-in-settings",
        "This provider's client is in the setting OAUTH_CLIENTS. Change it there and restart.",
    )


def _purpose(provider_id: str) -> str:
    return f"oauth-client:{provider_id}"
