"""Tables of model choices and usage."""

from datetime import date, datetime

from sqlalchemy import BigInteger, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from ocmt_management.db import Base

MODEL_CHARACTERS = 128
MODEL_PATTERN = r"[!-~]+"
"""Valid model names, both for a user's choice and in an agent's request."""


class ModelChoice(Base):
    """The model a user chose; without a row, the demo."""

    __tablename__ = "model_choices"

    user_id: Mapped[str] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    provider: Mapped[str] = mapped_column(String(16))
    model: Mapped[str] = mapped_column(String(MODEL_CHARACTERS))
    updated_at: Mapped[datetime]


class Usage(Base):
    """One user's use of one model on one day (UTC)."""

    __tablename__ = "usage"

    user_id: Mapped[str] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    day: Mapped[date] = mapped_column(primary_key=True)
    provider: Mapped[str] = mapped_column(String(16), primary_key=True)
    model: Mapped[str] = mapped_column(String(MODEL_CHARACTERS), primary_key=True)
    requests: Mapped[int] = mapped_column(BigInteger)
    unmeasured: Mapped[int] = mapped_column(BigInteger)
    """Requests whose answer had no token counts: cut short, or an error."""
    tokens_in: Mapped[int] = mapped_column(BigInteger)
    tokens_out: Mapped[int] = mapped_column(BigInteger)
