"""The signed-in user of a request, as other domains see them."""

from dataclasses import dataclass
from datetime import datetime

from ocmt_management.auth.models import Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    user_id: str
    email: str
    role: Role
    session_id: str
    last_used_at: datetime
    ends_at: datetime
    """When the session ends unless it is used before then."""
