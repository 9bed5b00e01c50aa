"""What administration takes and answers on the wire."""

from datetime import datetime
from typing import Literal

from ocmt_common.agent_api import Command, Wire

from ocmt_management.auth.models import Role, Status
from ocmt_management.email_addresses import EmailAddress


class UserRow(Wire):
    id: str
    email: str
    role: Role
    status: Status
    created_at: datetime
    last_sign_in_at: datetime | None
    pending: str | None
    """What is still to be done about a suspended or deleted user's agent; `None` when all is."""


class UsersAnswer(Wire):
    users: list[UserRow]


class UserChange(Command):
    status: Literal[Status.ACTIVE, Status.SUSPENDED]


class UserDeletion(Command):
    email: EmailAddress
    """The address of the user to be deleted, as a confirmation."""


class AuditRow(Wire):
    """One thing that happened. Addresses are those of people who are still here."""

    id: int
    at: datetime
    action: str
    actor: str
    """Who did it: a user id, or `operator`, `agent`, `server`, `stranger`."""
    actor_email: str | None
    user_id: str
    """Whose account or secret it was about; empty when nobody's is known."""
    user_email: str | None
    subject: str
    detail: str
    client: str
    """The network address it was asked from."""


class AuditAnswer(Wire):
    events: list[AuditRow]
    """Newest first."""
    earlier: int | None
    """`before` of the next page; `None` when this is the last."""


class InvitationRequest(Command):
    email: EmailAddress


class InvitationRow(Wire):
    id: str
    email: str
    created_at: datetime
    expires_at: datetime


class InvitationsAnswer(Wire):
    invitations: list[InvitationRow]
