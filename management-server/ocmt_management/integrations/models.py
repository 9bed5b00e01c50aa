"""Tables of integrations: connected accounts, connecting under way, the operator's clients."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, Index, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from ocmt_management.db import Base

TROUBLE_CHARACTERS = 500
ACCOUNT_CHARACTERS = 200
USE_CHARACTERS = 200


class ConnectionState(StrEnum):
    OK = "ok"
    RECONNECT = "reconnect"
    """The provider does not accept its tokens any more: the person has to connect it again."""


class ConnectedAccount(Base):
    """An account at a provider that a user connected."""

    __tablename__ = "connections"
    __table_args__ = (
        Index("uq_connections_user_id_provider_account_id", "user_id", "provider", "account_id",
              unique=True),
    )  # fmt: skip

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("data_keys.user_id", ondelete="CASCADE"))
    provider: Mapped[str] = mapped_column(String(32))
    account_id: Mapped[str] = mapped_column(String(ACCOUNT_CHARACTERS))
    """The provider's unchanging id of the account."""
    account: Mapped[str] = mapped_column(String(ACCOUNT_CHARACTERS))
    """The account as people know it, such as a mail address."""
    definition: Mapped[bytes | None] = mapped_column(LargeBinary)
    """The provider as JSON, if no file of the catalogue describes it."""
    asked_scopes: Mapped[str] = mapped_column(String(4000))
    scopes: Mapped[str] = mapped_column(String(4000))
    """What was granted; both separated by spaces."""
    tokens: Mapped[bytes] = mapped_column(LargeBinary)
    """The tokens as JSON, sealed with the user's data key."""
    token_version: Mapped[int]
    """Raised with each change of the tokens."""
    refreshable: Mapped[bool]
    expires_at: Mapped[datetime | None]
    """When the access token expires; NULL for never."""
    state: Mapped[str] = mapped_column(String(16))
    trouble: Mapped[str | None] = mapped_column(String(TROUBLE_CHARACTERS))
    """What is wrong and the cure; NULL when all is well."""
    lease_by: Mapped[str | None] = mapped_column(String(36))
    """The refresh under way."""
    lease_until: Mapped[datetime | None]
    created_at: Mapped[datetime]
    connected_at: Mapped[datetime]
    last_used_at: Mapped[datetime | None]
    last_used_for: Mapped[str | None] = mapped_column(String(USE_CHARACTERS))


class OAuthFlow(Base):
    """A person on their way to a provider and back. Deleted with the session that began it."""

    __tablename__ = "oauth_flows"
    __table_args__ = (Index(None, "expires_at"), Index(None, "user_id"))

    state_hash: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("data_keys.user_id", ondelete="CASCADE"))
    session_id: Mapped[str] = mapped_column(
        ForeignKey("sessions.id", ondelete="CASCADE"), index=True
    )
    provider: Mapped[str] = mapped_column(String(32))
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    """The PKCE verifier and what else the way back needs, sealed with the user's data key."""
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class OAuthClient(Base):
    """The operator's client at a provider."""

    __tablename__ = "oauth_clients"

    provider: Mapped[str] = mapped_column(String(32), primary_key=True)
    client_id: Mapped[str] = mapped_column(String(512))
    key_id: Mapped[str] = mapped_column(String(32))
    """The key of `VAULT_KEY` that the secret is sealed with."""
    secret: Mapped[bytes | None] = mapped_column(LargeBinary)
    definition: Mapped[bytes | None] = mapped_column(LargeBinary)
    """The operator's own provider as JSON."""
    updated_at: Mapped[datetime]
