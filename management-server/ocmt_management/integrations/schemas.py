"""Requests and answers of the pages about connections."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from ocmt_common.agent_api import Command, Wire
from pydantic import Field, SecretStr, StringConstraints, field_validator

from ocmt_management.integrations.provider_schema import (
    Address,
    HeaderName,
    Host,
    Kind,
    ScopeId,
    ScopeText,
)
from ocmt_management.integrations.token_state import Shown

MAX_KEY_CHARACTERS = 4096

ProviderId = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,31}\z")]
DisplayName = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True, min_length=1, max_length=60, pattern=r"^[^\x00-\x1f\x7f]*\z"
    ),
]
ClientText = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=512, pattern=r"^[!-~]+\z"),
]


def _checked_key(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if text != text.strip() or not all(" " <= letter <= "~" for letter in text):
        raise ValueError("has a space at an end or a character that keys never have; copy it again")
    return value


class ScopeView(Wire):
    id: str
    text: str
    required: bool


class ConnectableProvider(Wire):
    """A provider that a user can connect once it is `ready`."""

    id: str
    name: str
    kind: Kind
    scopes: list[ScopeView]
    ready: bool
    """Whether it needs no client, or has one."""


class ConnectionView(Wire):
    id: str
    provider: str
    name: str
    """The provider's name."""
    kind: Kind
    account: str
    state: Shown
    trouble: str | None
    """What is wrong and what to do; `null` when all is well."""
    scopes: list[str]
    """What was asked for and not refused, in plain words where the catalogue has them."""
    missing: list[str]
    """What was asked for and not granted, likewise."""
    hosts: list[str]
    """The hosts that its token may go to; empty for a tool server's."""
    since: datetime
    connected_at: datetime
    expires_at: datetime | None
    """When it ends, if it cannot be renewed."""
    last_used_at: datetime | None
    last_used_for: str | None


class ConnectionsAnswer(Wire):
    providers: list[ConnectableProvider]
    connections: list[ConnectionView]


class StartBody(Command):
    """Begin to connect an account by signing in at its provider."""

    provider: ProviderId
    scopes: list[ScopeId] | None = None
    """Those chosen; if left out, all, or those of the connection that is connected again.

    Required ones are always added to a choice.
    """
    connection_id: UUID | None = None
    """The connection to connect again."""


class StartAnswer(Wire):
    url: str
    """The address to send the person to."""


class KeyBody(Command):
    """Connect a host by a key."""

    name: DisplayName
    host: Host
    header: HeaderName = "Authorization"
    prefix: str = Field("Bearer ", max_length=20, pattern=r"^[\x20-\x7e]*\z")
    """What stands before the key in the header."""
    key: SecretStr = Field(min_length=1, max_length=MAX_KEY_CHARACTERS)

    _key = field_validator("key")(_checked_key)

    @field_validator("host")
    @classmethod
    def _one_host(cls, value: str) -> str:
        if value.startswith("*."):
            raise ValueError("must be one host, such as api.example.com")
        return value

    @field_validator("header")
    @classmethod
    def _for_a_key(cls, value: str) -> str:
        if value.lower() in {
            "accept", "connection", "content-length", "content-type", "cookie", "host",
            "transfer-encoding", "user-agent", "accept-encoding", "expect", "upgrade", "te",
        }:  # fmt: skip
            raise ValueError("is set by OCMT itself; keys go in Authorization or X-Api-Key")
        return value


class RenewedKey(Command):
    key: SecretStr = Field(min_length=1, max_length=MAX_KEY_CHARACTERS)

    _key = field_validator("key")(_checked_key)


class OwnScope(Command):
    id: ScopeId
    text: ScopeText
    required: bool = False


class OwnEndpoints(Command):
    """The operator's own provider."""

    name: DisplayName
    issuer: Address | None = None
    authorize_url: Address
    token_url: Address
    revoke_url: Address | None = None
    userinfo_url: Address | None = None
    """A call by GET that tells the account: the members `sub` and `email`, or as named below."""
    account_id: str = Field("sub", max_length=100)
    account_label: str = Field("email", max_length=100)
    api_url: Address
    hosts: list[Host]
    scopes: list[OwnScope] = Field(default_factory=list)


class ClientBody(Command):
    client_id: ClientText
    client_secret: SecretStr | None = Field(None, min_length=1, max_length=1024)
    """The stored one is kept if this is left out."""
    endpoints: OwnEndpoints | None = None

    @field_validator("client_secret")
    @classmethod
    def _is_printable(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not all("!" <= c <= "~" for c in value.get_secret_value()):
            raise ValueError("has a character that client secrets never have; copy it again")
        return value


class ClientView(Wire):
    """A provider, and the operator's client there."""

    id: str
    name: str
    kind: Kind
    setup: str
    client_id: str | None
    secret_set: bool
    from_setting: bool
    """It is in the setting OAUTH_CLIENTS and cannot be changed here."""
    endpoints: OwnEndpoints | None
    people: int
    """How many people have connected it."""


class ClientsAnswer(Wire):
    redirect_uri: str
    clients: list[ClientView]
