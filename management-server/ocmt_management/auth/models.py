"""Tables of users, invitations, sign-in links and sessions. Tokens are stored as hashes only."""

from datetime import datetime
from enum import StrEnum
from uuid import uuid4

from sqlalchemy import ForeignKey, Index, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from ocmt_management.db import Base


def new_id() -> str:
    return str(uuid4())


class Role(StrEnum):
    ADMIN = "admin"
    MEMBER = "member"


class Status(StrEnum):
    ACTIVE = "active"
    SUSPENDED = "suspended"
    DELETING = "deleting"
    """Locked out like a suspended user; the row is deleted once the agent is removed."""


class Installation(Base):
    """A single row, locked to serialise decisions about the first and the last admin."""

    __tablename__ = "installation"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


class User(Base):
    __tablename__ = "users"

    id: Mapped[str] = mapped_column(String(63), primary_key=True, default=new_id)
    email: Mapped[str] = mapped_column(String(254), unique=True)
    role: Mapped[str] = mapped_column(String(16))
    status: Mapped[str] = mapped_column(String(16), default=Status.ACTIVE)
    created_at: Mapped[datetime]
    last_sign_in_at: Mapped[datetime | None]
    mailbox_proved_at: Mapped[datetime | None]
    """The first sign-in by a mailed link. Others may have opened the account before it."""


class Invitation(Base):
    """Allows one address to sign in. Deleted at the first sign-in, when revoked or once expired."""

    __tablename__ = "invitations"

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    email: Mapped[str] = mapped_column(String(254), unique=True)
    invited_by: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]


class SignInLink(Base):
    """A sign-in link, mailed or made by the operator or an admin.

    `verifier_hash` binds a mailed link to the browser that requested it.
    """

    __tablename__ = "sign_in_links"
    __table_args__ = (
        Index(None, "verifier_hash"),
        Index(None, "email"),
        Index(None, "expires_at"),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    email: Mapped[str] = mapped_column(String(254))
    token_hash: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    verifier_hash: Mapped[bytes | None] = mapped_column(LargeBinary(32))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    consumed_at: Mapped[datetime | None]
    code_hash: Mapped[bytes | None] = mapped_column(LargeBinary(32))
    codes_shown: Mapped[int] = mapped_column(default=0)
    code_attempts: Mapped[int] = mapped_column(default=0)


class WaitingBrowser(Base):
    """A browser that requested a link for an address with the maximum of unused links.

    Those links sign in this browser as well.
    """

    __tablename__ = "waiting_browsers"
    __table_args__ = (Index(None, "verifier_hash"), Index(None, "expires_at"))

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    email: Mapped[str] = mapped_column(String(254))
    verifier_hash: Mapped[bytes] = mapped_column(LargeBinary(32))
    expires_at: Mapped[datetime]


class UserSession(Base):
    __tablename__ = "sessions"
    __table_args__ = (Index(None, "user_id"), Index(None, "expires_at"))

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    token_hash: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    user_agent: Mapped[str] = mapped_column(String(200))
    client: Mapped[str] = mapped_column(String(64), server_default="")
    """The network address from which it was used last; empty if not known yet."""
    created_at: Mapped[datetime]
    last_used_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    """The latest end; an idle session ends earlier."""
