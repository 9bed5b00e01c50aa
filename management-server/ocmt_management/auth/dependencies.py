"""What an endpoint or a socket asks for to know who is there.

async def secrets(user: CurrentUser, db: Db) -> …      # 401 when signed out
async def me(user: PresentUser) -> …                   # the same, but no use of the session
async def users(admin: AdminUser, db: Db) -> …         # 403 when not an admin
async def chat(socket: WebSocket, user: SocketUser)    # origin and session checked, then accept
"""

from typing import Annotated

from fastapi import Depends, WebSocketException
from ocmt_common.problems import PROBLEM_IN_SCOPE, Problem
from ocmt_common.web import USER_IN_SCOPE
from starlette.requests import HTTPConnection
from starlette.status import WS_1008_POLICY_VIOLATION
from starlette.websockets import WebSocket

from ocmt_management.auth import sessions
from ocmt_management.auth.cookies import session_cookie
from ocmt_management.auth.models import Role
from ocmt_management.auth.origins import allows_socket
from ocmt_management.auth.principal import Principal
from ocmt_management.dependencies import parts_of


async def principal_of(connection: HTTPConnection, *, used: bool) -> Principal | None:
    """The signed-in user of a request or socket, by its session cookie.

    `used`: it is something a person does, which keeps the session from ending by idleness.
    """
    parts = parts_of(connection)
    token = session_cookie(secure=parts.settings.secure).read(connection)
    if token is None:
        return None
    user = await sessions.find(parts.database, token, clock=parts.clock, used=used)
    if user is not None:
        connection.scope[USER_IN_SCOPE] = user.user_id
    return user


def _signed_out() -> Problem:
    return Problem(401, "signed-out", "Sign in first.")


async def _current_user(connection: HTTPConnection) -> Principal:
    user = await principal_of(connection, used=True)
    if user is None:
        raise _signed_out()
    return user


CurrentUser = Annotated[Principal, Depends(_current_user)]


async def _present_user(connection: HTTPConnection) -> Principal:
    user = await principal_of(connection, used=False)
    if user is None:
        raise _signed_out()
    return user


PresentUser = Annotated[Principal, Depends(_present_user)]
"""For what an open page asks by itself: it must not keep the session from ending by idleness."""


async def _admin_user(user: CurrentUser) -> Principal:
    if user.role is not Role.ADMIN:
        raise Problem(403, "not-admin", "Only an admin of this installation may do this.")
    return user


AdminUser = Annotated[Principal, Depends(_admin_user)]


async def _socket_user(socket: WebSocket) -> Principal:
    if not allows_socket(socket.headers, allowed=parts_of(socket).settings.origins):
        socket.scope[PROBLEM_IN_SCOPE] = "cross-site"
        raise WebSocketException(WS_1008_POLICY_VIOLATION, "cross-site")
    try:
        user = await principal_of(socket, used=False)
    except Problem as problem:
        raise WebSocketException(WS_1008_POLICY_VIOLATION, problem.code) from problem
    if user is None:
        raise WebSocketException(WS_1008_POLICY_VIOLATION, "signed-out")
    return user


SocketUser = Annotated[Principal, Depends(_socket_user)]
"""For a WebSocket: refused before it is accepted. Watch `parts.ended` for the session's end."""
