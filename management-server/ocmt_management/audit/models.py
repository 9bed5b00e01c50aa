"""The table of audit events."""

from datetime import datetime

from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, mapped_column

from ocmt_management.db import Base


class AuditEvent(Base):
    """No foreign keys: events outlive the users they name."""

    __tablename__ = "audit_events"
    __table_args__ = (Index(None, "user_id", "id"), Index(None, "at"))

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    actor: Mapped[str] = mapped_column(String(254))
    """A user id, or `operator`, `agent`, `server`; `stranger` for an unknown client."""
    user_id: Mapped[str] = mapped_column(String(63))
    """The user whom the event concerns; empty if unknown or none."""
    action: Mapped[str] = mapped_column(String(64))
    subject: Mapped[str] = mapped_column(String(128))
    detail: Mapped[str] = mapped_column(String(300))
    client: Mapped[str] = mapped_column(String(64), server_default="")
    """The network address of the request's client; empty outside of a request."""
