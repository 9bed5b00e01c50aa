"""Tables of the vault. Decrypting their ciphertexts needs `VAULT_KEY`."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from ocmt_management.db import Base


class StoredDataKey(Base):
    """A user's wrapped data key. Deleting the row makes the user's secrets unreadable for good."""

    __tablename__ = "data_keys"
    __table_args__ = (Index(None, "key_id"),)

    user_id: Mapped[str] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    key_id: Mapped[str] = mapped_column(String(32))
    wrapped: Mapped[bytes] = mapped_column(LargeBinary(128))
    created_at: Mapped[datetime]


class StoredServerSecret(Base):
    """A secret of the server, not of a user, with a data key of its own."""

    __tablename__ = "server_secrets"
    __table_args__ = (Index(None, "key_id"),)

    name: Mapped[str] = mapped_column(String(128), primary_key=True)
    key_id: Mapped[str] = mapped_column(String(32))
    wrapped: Mapped[bytes] = mapped_column(LargeBinary(128))
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    hint: Mapped[str | None] = mapped_column(String(4))
    updated_at: Mapped[datetime]


class StoredSecret(Base):
    __tablename__ = "secrets"

    user_id: Mapped[str] = mapped_column(
        ForeignKey("data_keys.user_id", ondelete="CASCADE"), primary_key=True
    )
    name: Mapped[str] = mapped_column(String(128), primary_key=True)
    version: Mapped[int]
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    hint: Mapped[str | None] = mapped_column(String(4))
    updated_at: Mapped[datetime]
