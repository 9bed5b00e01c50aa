"""A connection's tokens as they are stored: sealed with the user's data key."""

import json
from dataclasses import dataclass

from ocmt_common.problems import Problem

from ocmt_management.integrations.catalogue import shipped
from ocmt_management.integrations.models import ConnectedAccount, ConnectionState
from ocmt_management.integrations.oauth_protocol import Client
from ocmt_management.integrations.provider_schema import Provider
from ocmt_management.integrations.token_state import Standing
from ocmt_management.vault.service import SecretValue, Vault


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTokens:
    access: SecretValue
    refresh: SecretValue | None = None
    client: Client | None = None
    """The client that was registered for this connection alone; `None`: the operator's."""

    async def seal(self, vault: Vault, user_id: str, connection_id: str) -> bytes:
        client = self.client
        secret = None if client is None or client.secret is None else client.secret.reveal()
        value = {
            "access": self.access.reveal(),
            "refresh": None if self.refresh is None else self.refresh.reveal(),
            "client": None if client is None else [client.id, secret],
        }
        text = json.dumps(value).encode()
        return await vault.seal(user_id, text, purpose=_purpose(connection_id))


async def tokens_of(vault: Vault, row: ConnectedAccount) -> StoredTokens:
    """Raises `Problem` if the user's data key was shredded."""
    text = await vault.unseal(row.user_id, row.tokens, purpose=_purpose(row.id))
    if text is None:
        raise Problem(404, "connection-unknown", "There is no such connection.")
    value = json.loads(text)
    client = None
    if value["client"] is not None:
        client_id, secret = value["client"]
        client = Client(id=client_id, secret=None if secret is None else SecretValue(secret))
    return StoredTokens(
        access=SecretValue(value["access"]),
        refresh=None if value["refresh"] is None else SecretValue(value["refresh"]),
        client=client,
    )


def provider_of(row: ConnectedAccount) -> Provider:
    """The provider as it was when the account was connected, or as its file describes it now."""
    if row.definition is not None:
        return Provider.model_validate_json(row.definition)
    return shipped()[row.provider]


def standing_of(row: ConnectedAccount) -> Standing:
    return Standing(
        state=ConnectionState(row.state),
        token_version=row.token_version,
        expires_at=row.expires_at,
        refreshable=row.refreshable,
        lease_until=row.lease_until,
    )


def _purpose(connection_id: str) -> str:
    return f"connection:{connection_id}"
