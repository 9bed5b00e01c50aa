"""The table of what happened."""

from datetime import datetime

from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, mapped_column

from ocmt_management.db import Base


class AuditEvent(Base):
    """No foreign keys: the trail outlives the people in it."""

    __tablename__ = "audit_events"
    __table_args__ = (Index(None, "user_id", "id"), Index(None, "at"))

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    actor: Mapped[str] = mapped_column(String(254))
    """Who did it: a user id, or `operator`, `agent`, `server`; `stranger` for whom nobody knows."""
    user_id: Mapped[str] = mapped_column(String(63))
    """Whose account or secret it was about; empty when nobody's is known."""
    action: Mapped[str] = mapped_column(String(64))
    subject: Mapped[str] = mapped_column(String(128))
    detail: Mapped[str] = mapped_column(String(300))
    client: Mapped[str] = mapped_column(String(64), server_default="")
    """The network address it was asked from; empty for what a server or the operator did."""
