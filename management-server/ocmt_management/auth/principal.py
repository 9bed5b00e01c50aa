"""Who is asking: what the rest of the server knows about the signed-in user of a request."""

from dataclasses import dataclass

from ocmt_management.auth.models import Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    user_id: str
    email: str
    role: Role
    session_id: str
