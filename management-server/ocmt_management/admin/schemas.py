"""What administration takes and answers on the wire."""

from datetime import datetime

from ocmt_common.agent_api import Command, Wire

from ocmt_management.auth.addresses import EmailAddress
from ocmt_management.auth.models import Role, Status


class UserRow(Wire):
    id: str
    email: str
    role: Role
    status: Status
    created_at: datetime
    last_sign_in_at: datetime | None


class UsersAnswer(Wire):
    users: list[UserRow]


class UserChange(Command):
    status: Status


class InvitationRequest(Command):
    email: EmailAddress


class InvitationRow(Wire):
    id: str
    email: str
    created_at: datetime
    expires_at: datetime


class InvitationsAnswer(Wire):
    invitations: list[InvitationRow]
