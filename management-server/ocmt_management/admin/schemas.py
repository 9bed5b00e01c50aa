"""Requests and answers of administration."""

from datetime import datetime
from enum import StrEnum
from typing import Literal, Self

from ocmt_common.agent_api import AgentServerHealth, Command, HostDay, Wire
from pydantic import Field, model_validator

from ocmt_management.agents.service import AgentRow
from ocmt_management.auth.service import Role, Status
from ocmt_management.email_addresses import EmailAddress


class UserRow(Wire):
    id: str
    email: str
    role: Role
    status: Status
    created_at: datetime
    last_sign_in_at: datetime | None
    pending: str | None
    """What remains to be done for a suspended or deleted user's agent; `None` when nothing does."""


class UsersAnswer(Wire):
    users: list[UserRow]


class UserChange(Command):
    """At least one of them."""

    status: Literal[Status.ACTIVE, Status.SUSPENDED] | None = None
    role: Role | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.status is None and self.role is None:
            raise ValueError("send a status or a role")
        return self


class Order(StrEnum):
    WAKE = "wake"
    PAUSE = "pause"
    STOP = "stop"
    RESTART = "restart"


class AgentOrder(Command):
    order: Order


class HostAnswer(Wire):
    now: AgentServerHealth
    day: HostDay


class AgentsAnswer(Wire):
    agents: list[AgentRow]


class UserDeletion(Command):
    email: EmailAddress
    """The address of the user to delete, as a confirmation."""


class AuditRow(Wire):
    """An audit event, with the addresses of users that still exist."""

    id: int
    at: datetime
    action: str
    actor: str
    """A user id, or `operator`, `agent`, `server`, `stranger`."""
    actor_email: str | None
    user_id: str
    """The user whose account or secret the event concerns; empty if unknown."""
    user_email: str | None
    subject: str
    detail: str
    client: str
    """The client's network address."""


class AuditAnswer(Wire):
    events: list[AuditRow]
    """Newest first."""
    earlier: int | None
    """The `before` of the next page; `None` on the last page."""


class InvitationRequest(Command):
    email: EmailAddress


class InvitationsRequest(Command):
    emails: list[EmailAddress] = Field(min_length=1, max_length=200)


class InvitationOutcome(Wire):
    email: str
    invited: bool
    detail: str | None
    """Why not, or `None`."""


class InvitationOutcomes(Wire):
    outcomes: list[InvitationOutcome]


class InvitationLink(Wire):
    link: str
    """Signs in whoever opens it first as the invited person. Shown once."""
    expires_at: datetime


class InvitationRow(Wire):
    id: str
    email: str
    created_at: datetime
    expires_at: datetime


class InvitationsAnswer(Wire):
    invitations: list[InvitationRow]
