"""Requests and answers of sign-in."""

from datetime import datetime
from typing import Annotated, Self

from ocmt_common.agent_api import Command, Wire
from pydantic import StringConstraints, model_validator

from ocmt_management.auth.models import Role
from ocmt_management.email_addresses import EmailAddress


class LinkRequest(Command):
    email: EmailAddress


class LinkAnswer(Wire):
    message: str


class OpenedLink(Command):
    token: Annotated[str, StringConstraints(max_length=128)]


class LinkAccount(Wire):
    """What using a sign-in link would do, shown before it is used."""

    email: str
    """The account that the link signs in to."""
    here: bool
    """Whether the link signs in this browser, or shows digits to type into another."""
    signed_in_as: str | None
    """The account of this browser's current session, which signing in would end."""


class SessionRequest(Command):
    """A link's token, or the six digits another browser showed."""

    token: Annotated[str, StringConstraints(max_length=128)] | None = None
    code: Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"^[0-9]{6}$")] | None = (
        None
    )

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.token is None) == (self.code is None):
            raise ValueError("send either a token or a code")
        return self


class UserView(Wire):
    id: str
    email: str
    role: Role


class UserAnswer(Wire):
    user: UserView


class CodeAnswer(Wire):
    code: str


class SessionView(Wire):
    id: str
    created_at: datetime
    last_used_at: datetime
    user_agent: str
    client: str
    """The network address from which it was used last; empty if not known."""
    current: bool


class SessionsAnswer(Wire):
    sessions: list[SessionView]
