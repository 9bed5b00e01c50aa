"""The two cookies: the session, and the verifier that binds a link to its requesting browser."""

from dataclasses import dataclass
from datetime import timedelta

from starlette.requests import HTTPConnection
from starlette.responses import Response

from ocmt_management.tokens import is_token


@dataclass(frozen=True, slots=True, kw_only=True)
class Cookie:
    """An HttpOnly, SameSite=Lax cookie.

    Over https it has the `__Host-` prefix, so no neighbouring domain can set or overwrite it.
    """

    name: str
    secure: bool
    life: timedelta

    @property
    def full_name(self) -> str:
        return f"__Host-{self.name}" if self.secure else self.name

    def read(self, connection: HTTPConnection) -> str | None:
        """The token, or `None` when the cookie is missing or its value is not a token."""
        value = connection.cookies.get(self.full_name, "")
        return value if is_token(value) else None

    def write(self, response: Response, token: str) -> None:
        response.set_cookie(
            self.full_name,
            token,
            max_age=int(self.life.total_seconds()),
            path="/",
            secure=self.secure,
            httponly=True,
            samesite="lax",
        )

    def clear(self, response: Response) -> None:
        response.delete_cookie(
            self.full_name, path="/", secure=self.secure, httponly=True, samesite="lax"
        )


LINK_LIFE = timedelta(minutes=10)
SESSION_LIFE = timedelta(days=90)


def session_cookie(*, secure: bool) -> Cookie:
    return Cookie(name="ocmt_session", secure=secure, life=SESSION_LIFE)


def verifier_cookie(*, secure: bool) -> Cookie:
    return Cookie(name="ocmt_verifier", secure=secure, life=LINK_LIFE)
