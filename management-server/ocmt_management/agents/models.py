"""The table of agents: who has one, and the hash of the token by which it is known to us."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from ocmt_management.db import Base

FAILURE_CHARACTERS = 1000


class Stage(StrEnum):
    """How far an agent's making came. What a made agent does, the agent server tells."""

    PROVISIONING = "provisioning"
    READY = "ready"
    FAILED = "failed"


class Agent(Base):
    __tablename__ = "agents"

    user_id: Mapped[str] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    token_hash: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    stage: Mapped[str] = mapped_column(String(16))
    failure: Mapped[str | None] = mapped_column(String(FAILURE_CHARACTERS))
    """Why it is not ready yet, in words for the user."""
    since: Mapped[datetime]
