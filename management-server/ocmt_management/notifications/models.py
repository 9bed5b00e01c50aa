"""The push subscriptions of devices. A device is a session, and its subscription ends with it."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from ocmt_management.db import Base


class PushSubscription(Base):
    """Where one device's push service takes messages, and the keys that only its browser reads."""

    __tablename__ = "push_subscriptions"
    __table_args__ = (Index(None, "user_id"),)

    session_id: Mapped[str] = mapped_column(
        ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True
    )
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    endpoint: Mapped[str] = mapped_column(String(1000))
    public_key: Mapped[bytes] = mapped_column(LargeBinary(65))
    """The browser's P-256 public key (`p256dh`), uncompressed."""
    auth: Mapped[bytes] = mapped_column(LargeBinary(16))
    """The secret that the browser shares with this server."""
    created_at: Mapped[datetime]
