"""Tables of model choices, shared keys, usage and budgets. Amounts of money are nano-dollars."""

from datetime import date, datetime

from sqlalchemy import BigInteger, ForeignKey, Index, String, false
from sqlalchemy.orm import Mapped, mapped_column

from ocmt_management.db import Base

MODEL_CHARACTERS = 128
MODEL_PATTERN = r"[!-~]+"
"""Valid model names, both for a user's choice and in an agent's request."""
URL_CHARACTERS = 1000
TOTAL = "total"
"""The id of the budget of all users together."""


class ModelChoice(Base):
    """The model that a user chose; without a row, the demo model."""

    __tablename__ = "model_choices"

    user_id: Mapped[str] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    provider: Mapped[str] = mapped_column(String(16))
    model: Mapped[str] = mapped_column(String(MODEL_CHARACTERS))
    updated_at: Mapped[datetime]


class OwnModelServer(Base):
    """The address of a user's own server, such as Ollama."""

    __tablename__ = "own_model_servers"

    user_id: Mapped[str] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    url: Mapped[str] = mapped_column(String(URL_CHARACTERS))


class SharedKey(Base):
    """A provider that the admins provide; its key, if any, is among the vault's server secrets."""

    __tablename__ = "shared_model_keys"

    provider: Mapped[str] = mapped_column(String(16), primary_key=True)
    url: Mapped[str | None] = mapped_column(String(URL_CHARACTERS))
    """The address of a server of the admins' own."""
    everyone: Mapped[bool]
    """Whether every user may use it; otherwise those with a `SharedKeyUser`."""
    suspended: Mapped[bool]
    day_hard: Mapped[int | None] = mapped_column(BigInteger)
    """The most that each user may spend in a day; NULL for no limit."""
    month_hard: Mapped[int | None] = mapped_column(BigInteger)
    updated_at: Mapped[datetime]


class SharedKeyUser(Base):
    """A user who may use a shared key."""

    __tablename__ = "shared_model_key_users"

    provider: Mapped[str] = mapped_column(
        ForeignKey("shared_model_keys.provider", ondelete="CASCADE"), primary_key=True
    )
    user_id: Mapped[str] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )

    __table_args__ = (Index(None, "user_id"),)


class SharedKeySpending(Base):
    """What a user spent of a shared key on one of their days; a part of `Usage.cost`."""

    __tablename__ = "shared_model_key_spending"

    provider: Mapped[str] = mapped_column(String(16), primary_key=True)
    user_id: Mapped[str] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    day: Mapped[date] = mapped_column(primary_key=True)
    cost: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (Index(None, "user_id"),)


class Usage(Base):
    """A user's usage of one provider's model from one source, on one day of their time zone."""

    __tablename__ = "model_usage"

    user_id: Mapped[str] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    day: Mapped[date] = mapped_column(primary_key=True)
    provider: Mapped[str] = mapped_column(String(16), primary_key=True)
    model: Mapped[str] = mapped_column(String(MODEL_CHARACTERS), primary_key=True)
    source: Mapped[str] = mapped_column(String(16), primary_key=True)
    requests: Mapped[int] = mapped_column(BigInteger)
    estimated: Mapped[int] = mapped_column(BigInteger)
    """Requests whose tokens are estimated: the answer was cut, or reported none."""
    unpriced: Mapped[int] = mapped_column(BigInteger)
    """Requests whose price is not known; `cost` excludes them."""
    tokens_in: Mapped[int] = mapped_column(BigInteger)
    tokens_out: Mapped[int] = mapped_column(BigInteger)
    cached: Mapped[int] = mapped_column(BigInteger)
    cache_written: Mapped[int] = mapped_column(BigInteger)
    reasoning: Mapped[int] = mapped_column(BigInteger)
    cost: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (Index(None, "day"),)


class UsagePreference(Base):
    """The time zone of a user's days; without a row, UTC."""

    __tablename__ = "usage_preferences"

    user_id: Mapped[str] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    time_zone: Mapped[str] = mapped_column(String(64))


class Budget(Base):
    """Limits of one user (`id` is the user's), or of all users together (`TOTAL`)."""

    __tablename__ = "budgets"

    id: Mapped[str] = mapped_column(String(63), primary_key=True)
    user_id: Mapped[str | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    day_soft: Mapped[int | None] = mapped_column(BigInteger)
    day_hard: Mapped[int | None] = mapped_column(BigInteger)
    month_soft: Mapped[int | None] = mapped_column(BigInteger)
    month_hard: Mapped[int | None] = mapped_column(BigInteger)
    kept_for_jobs: Mapped[int] = mapped_column(BigInteger)
    """The part of each hard limit that chats leave to jobs, dreaming and heartbeats."""
    updated_at: Mapped[datetime]


class Reservation(Base):
    """The estimated cost of a request in progress; deleted when its cost, or this, is recorded."""

    __tablename__ = "reservations"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    day: Mapped[date]
    provider: Mapped[str] = mapped_column(String(16))
    model: Mapped[str] = mapped_column(String(MODEL_CHARACTERS))
    source: Mapped[str] = mapped_column(String(16))
    shared: Mapped[bool] = mapped_column(server_default=false())
    """Whether it is made with a shared key."""
    amount: Mapped[int] = mapped_column(BigInteger)
    made_at: Mapped[datetime]

    __table_args__ = (Index(None, "user_id"), Index(None, "made_at"))
