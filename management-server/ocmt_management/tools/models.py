"""Tables of tools: servers, users' connections to them, definitions, rules and last uses."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, Index, LargeBinary, String, text
from sqlalchemy.orm import Mapped, mapped_column

from ocmt_management.db import Base

SLUG_CHARACTERS = 20
NAME_CHARACTERS = 100
CONNECTED_CHARACTERS = 300
URL_CHARACTERS = 2000
TOOL_CHARACTERS = 128
PUBLIC_NAME_CHARACTERS = 58
"""OpenClaw adds the prefix `ocmt__` and cuts names at 64."""
TROUBLE_CHARACTERS = 500
SHAPE_CHARACTERS = 500


class Transport(StrEnum):
    HTTP = "http"
    STDIO = "stdio"
    API = "api"
    """A connection's HTTP API, called by the built-in tool; its id is the connection's."""


class AccountState(StrEnum):
    """The state of a user's credential for a server."""

    OK = "ok"
    MISSING = "missing"
    REFUSED = "refused"


class DefinitionState(StrEnum):
    NEW = "new"
    """Added by the server after it was connected; each call needs a decision until accepted."""
    OK = "ok"
    EXTENDED = "extended"
    """Has new optional parameters; the accepted definition is used until they are accepted."""
    CHANGED = "changed"
    """Quarantined: neither listed nor called until the user accepts the change."""
    GONE = "gone"


class Rule(StrEnum):
    ALLOW = "allow"
    ASK = "ask"
    DENY = "deny"


class ToolServer(Base):
    """An MCP server or a connection's API: one user's own, or shared (`owner_id` is NULL)."""

    __tablename__ = "tool_servers"
    __table_args__ = (
        Index("uq_tool_servers_owner_id_slug", "owner_id", "slug", unique=True),
        Index(
            "uq_tool_servers_slug_shared",
            "slug",
            unique=True,
            sqlite_where=text("owner_id IS NULL"),
            postgresql_where=text("owner_id IS NULL"),
        ),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    owner_id: Mapped[str | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    slug: Mapped[str] = mapped_column(String(SLUG_CHARACTERS))
    name: Mapped[str] = mapped_column(String(NAME_CHARACTERS))
    transport: Mapped[str] = mapped_column(String(8))
    url: Mapped[str | None] = mapped_column(String(URL_CHARACTERS))
    package: Mapped[str | None] = mapped_column(String(214))
    package_version: Mapped[str | None] = mapped_column(String(64))
    integrity: Mapped[str | None] = mapped_column(String(128))
    arguments: Mapped[bytes | None] = mapped_column(LargeBinary)
    """The package's arguments, a JSON list of strings."""
    credential_name: Mapped[str | None] = mapped_column(String(64))
    """The header, or the package's environment variable, for the credential; NULL for none."""
    enabled: Mapped[bool]
    version: Mapped[int]
    """Incremented by each change."""
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class ToolAccount(Base):
    """A user's connection to a server. A secret for it is in the vault as `tool:<server id>`."""

    __tablename__ = "tool_accounts"

    user_id: Mapped[str] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    server_id: Mapped[str] = mapped_column(
        ForeignKey("tool_servers.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    version: Mapped[int]
    """Changes with each change of the connection or its credential."""
    connection_id: Mapped[str | None] = mapped_column(
        ForeignKey("connections.id", ondelete="SET NULL"), index=True
    )
    """The connection whose token is the credential; NULL: the vault's, or none."""
    state: Mapped[str] = mapped_column(String(8))
    trouble: Mapped[str | None] = mapped_column(String(TROUBLE_CHARACTERS))
    """Why listing its tools or a call failed, or which cannot be used; NULL if all is well."""
    extras: Mapped[bytes | None] = mapped_column(LargeBinary)
    """The server's resources, templates and prompts as last listed: a JSON object."""
    listed_at: Mapped[datetime | None]
    """When the server last listed its tools."""
    created_at: Mapped[datetime]


class ToolDefinition(Base):
    """A tool as the server defined it for this user, and as the user accepted it."""

    __tablename__ = "tool_definitions"

    user_id: Mapped[str] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    server_id: Mapped[str] = mapped_column(
        ForeignKey("tool_servers.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    name: Mapped[str] = mapped_column(String(TOOL_CHARACTERS), primary_key=True)
    public_name: Mapped[str] = mapped_column(String(PUBLIC_NAME_CHARACTERS))
    """The tool's name in the aggregate; never changes; unique for the user, ignoring case."""
    definition: Mapped[bytes] = mapped_column(LargeBinary)
    pin: Mapped[bytes] = mapped_column(LargeBinary(32))
    """SHA-256 of the definition in canonical JSON."""
    accepted_definition: Mapped[bytes | None] = mapped_column(LargeBinary)
    accepted_pin: Mapped[bytes | None] = mapped_column(LargeBinary(32))
    state: Mapped[str] = mapped_column(String(8))
    seen_at: Mapped[datetime]


class ToolRule(Base):
    """A rule of a user, or of the admins for a shared server (`user_id` is NULL)."""

    __tablename__ = "tool_rules"
    __table_args__ = (
        Index("uq_tool_rules_user_id_server_id_tool", "user_id", "server_id", "tool", unique=True),
        Index(
            "uq_tool_rules_server_id_tool_admin",
            "server_id",
            "tool",
            unique=True,
            sqlite_where=text("user_id IS NULL"),
            postgresql_where=text("user_id IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[str | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    server_id: Mapped[str] = mapped_column(
        ForeignKey("tool_servers.id", ondelete="CASCADE"), index=True
    )
    tool: Mapped[str] = mapped_column(String(TOOL_CHARACTERS))
    """Empty: the whole server."""
    rule: Mapped[str] = mapped_column(String(8))
    pin: Mapped[bytes | None] = mapped_column(LargeBinary(32))
    """The only definition that the rule applies to; NULL for any."""


class ToolCatalogue(Base):
    """The version of a user's tools, incremented in the transaction of each change to them."""

    __tablename__ = "tool_catalogues"

    user_id: Mapped[str] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    version: Mapped[int]
    sent_version: Mapped[int]
    """The last version that was sent to the agent server, or that changed no list."""
    sent_digest: Mapped[bytes | None] = mapped_column(LargeBinary(32))
    """SHA-256 of the list that the agent last had to read."""


class ToolUse(Base):
    """One of a user's last uses of tools, with the shape of the arguments, never their values."""

    __tablename__ = "tool_uses"
    __table_args__ = (Index(None, "user_id", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    server_id: Mapped[str] = mapped_column(
        ForeignKey("tool_servers.id", ondelete="CASCADE"), index=True
    )
    tool: Mapped[str] = mapped_column(String(TOOL_CHARACTERS))
    outcome: Mapped[str] = mapped_column(String(16))
    milliseconds: Mapped[int]
    shape: Mapped[str] = mapped_column(String(SHAPE_CHARACTERS))
    at: Mapped[datetime]


class Wanted(StrEnum):
    """What a task of an agent lacks."""

    ACCOUNT = "account"
    SERVER = "server"


class ConnectionRequest(Base):
    """An agent gave its user a link, and goes on once what the link is for is connected.

    Deleted when the agent was told.
    """

    __tablename__ = "connection_requests"
    __table_args__ = (Index(None, "user_id"), Index(None, "deliver_at"))

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(8))
    wanted: Mapped[str] = mapped_column(String(36))
    """The provider's or the server's id; empty for any provider."""
    expires_at: Mapped[datetime]
    connected: Mapped[str | None] = mapped_column(String(CONNECTED_CHARACTERS))
    """What was connected, in words for the agent; NULL while it waits."""
    sends: Mapped[int]
    """How often the message was sent; its delivery is not confirmed yet."""
    deliver_at: Mapped[datetime | None]
    """When to try next to tell the agent; NULL while it waits."""
