"""The table of agents: each with the hash of the token for `/llm` and `/mcp`."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from ocmt_management.db import Base

FAILURE_CHARACTERS = 1000


class Stage(StrEnum):
    """The progress of provisioning. The state of a ready agent comes from the agent server."""

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
    """Why provisioning failed or is delayed, for the user to read; `None` otherwise."""
    since: Mapped[datetime]
