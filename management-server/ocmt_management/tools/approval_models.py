"""The table of approvals: calls that need a person's decision."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from ocmt_management.db import Base
from ocmt_management.tools.models import NAME_CHARACTERS, TOOL_CHARACTERS

DETAIL_CHARACTERS = 300


class ToolApproval(Base):
    """One call. Arguments and result are sealed with the data key; shredding it erases them."""

    __tablename__ = "tool_approvals"
    __table_args__ = (
        UniqueConstraint("user_id", "number"),
        Index(None, "user_id", "digest"),
        Index(None, "next_at"),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("data_keys.user_id", ondelete="CASCADE"))
    number: Mapped[int]
    """The approval's number among the user's, by which people and agents refer to it."""
    server_id: Mapped[str] = mapped_column(String(36))
    """No foreign key: the record outlives the server."""
    server: Mapped[str] = mapped_column(String(NAME_CHARACTERS))
    tool: Mapped[str] = mapped_column(String(TOOL_CHARACTERS))
    digest: Mapped[bytes] = mapped_column(LargeBinary(32))
    """The keyed digest of server, tool and arguments: equal for identical calls."""
    arguments: Mapped[bytes | None] = mapped_column(LargeBinary)
    result: Mapped[bytes | None] = mapped_column(
        LargeBinary, deferred=True, deferred_raiseload=True
    )
    """Large, so it is read by a query of its own."""
    pin: Mapped[bytes] = mapped_column(LargeBinary(32))
    server_version: Mapped[int]
    rules_version: Mapped[int] = mapped_column(BigInteger)
    account_version: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(String(16))
    version: Mapped[int]
    """Incremented by each transition, so that a decision names the version that the person saw."""
    decision: Mapped[str | None] = mapped_column(String(8))
    detail: Mapped[str | None] = mapped_column(String(DETAIL_CHARACTERS))
    """Why the call was denied without the person; the person and the agent read it."""
    changed: Mapped[str] = mapped_column(String(64))
    """What changed since the person was first asked, comma-separated."""
    repeats: Mapped[int | None]
    """The number of the user's previous identical call; NULL if there is none."""
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    decided_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    mail_at: Mapped[datetime | None]
    """When to mail the person; NULL once that is done, or without a mail server."""
    run_by: Mapped[str | None] = mapped_column(String(36))
    """The process that runs the call."""
    lease_until: Mapped[datetime | None]
    delivery: Mapped[str] = mapped_column(String(8))
    held_until: Mapped[datetime]
    deliver_at: Mapped[datetime]
    """When to try next to deliver the outcome."""
    sends: Mapped[int]
    """How often the outcome's message was sent; its delivery is not confirmed yet."""
    next_at: Mapped[datetime | None]
    """When the approval needs attention next; NULL for never."""
