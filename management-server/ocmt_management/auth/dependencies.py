"""FastAPI dependencies: the signed-in user, and the services of sign-in.

async def secrets(user: CurrentUser) -> …       # 401 when signed out
async def me(user: PresentUser) -> …            # the same, without extending the session
async def users(admin: AdminUser) -> …          # 403 when not an admin
async def chat(session: SocketSession) -> …     # origin and session checked before the accept
"""

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, WebSocketException
from ocmt_common.problems import PROBLEM_IN_SCOPE, Problem
from ocmt_common.web import USER_IN_SCOPE
from starlette.requests import HTTPConnection
from starlette.status import WS_1008_POLICY_VIOLATION
from starlette.websockets import WebSocket

from ocmt_management.audit.dependencies import AuditThrottle
from ocmt_management.auth import limits, sessions, sign_in, socket_session, users
from ocmt_management.auth.cookies import session_cookie
from ocmt_management.auth.models import Role
from ocmt_management.auth.origins import allows_socket
from ocmt_management.auth.principal import Principal
from ocmt_management.auth.session_revocations import SessionRevocations
from ocmt_management.dependencies import (
    Clock,
    Database,
    Settings,
    Transaction,
    clock_of,
    database_of,
    settings_of,
)
from ocmt_management.mail.dependencies import MailQueue


async def user_of(connection: HTTPConnection, *, used: bool) -> Principal | None:
    """The user of a request or socket, by its session cookie; `None` if signed out.

    `used` restarts the session's idle time: pass `True` when a person acts.
    """
    settings = await settings_of(connection)
    token = session_cookie(secure=settings.secure).read(connection)
    if token is None:
        return None
    database, clock = await database_of(connection), await clock_of(connection)
    user = await sessions.find(database, token, clock=clock, used=used)
    if user is not None:
        connection.scope[USER_IN_SCOPE] = user.user_id
    return user


def _signed_out() -> Problem:
    return Problem(401, "signed-out", "Sign in first.")


async def _current_user(connection: HTTPConnection) -> Principal:
    user = await user_of(connection, used=True)
    if user is None:
        raise _signed_out()
    return user


CurrentUser = Annotated[Principal, Depends(_current_user)]


async def _present_user(connection: HTTPConnection) -> Principal:
    user = await user_of(connection, used=False)
    if user is None:
        raise _signed_out()
    return user


PresentUser = Annotated[Principal, Depends(_present_user)]
"""For requests that an open page makes on its own: they do not restart the session's idle time."""


async def _admin_user(user: CurrentUser) -> Principal:
    if user.role is not Role.ADMIN:
        raise Problem(403, "not-admin", "Only an admin of this installation may do this.")
    return user


AdminUser = Annotated[Principal, Depends(_admin_user)]


async def _session_revocations(connection: HTTPConnection) -> SessionRevocations:
    revocations: SessionRevocations = connection.app.state.session_revocations
    return revocations


Revocations = Annotated[SessionRevocations, Depends(_session_revocations)]


async def _socket_session(
    socket: WebSocket,
    settings: Settings,
    database: Database,
    clock: Clock,
    revocations: Revocations,
) -> socket_session.SocketSession:
    if not allows_socket(socket.headers, allowed=settings.origins):
        socket.scope[PROBLEM_IN_SCOPE] = "cross-site"
        raise WebSocketException(WS_1008_POLICY_VIOLATION, "cross-site")
    try:
        user = await user_of(socket, used=False)
    except Problem as problem:
        raise WebSocketException(WS_1008_POLICY_VIOLATION, problem.code) from problem
    if user is None:
        raise WebSocketException(WS_1008_POLICY_VIOLATION, "signed-out")

    async def find() -> Principal | None:
        return await user_of(socket, used=False)

    return socket_session.SocketSession(
        user, find=find, database=database, clock=clock, revocations=revocations
    )


SocketSession = Annotated[socket_session.SocketSession, Depends(_socket_session)]
"""For a WebSocket, which is refused if it has no session or comes from another site."""


async def _sessions(db: Transaction, clock: Clock, revocations: Revocations) -> sessions.Sessions:
    return sessions.Sessions(db, clock, revocations)


Sessions = Annotated[sessions.Sessions, Depends(_sessions)]


async def _sign_in_limits(connection: HTTPConnection) -> limits.SignInLimits:
    found: limits.SignInLimits = connection.app.state.sign_in_limits
    return found


SignInLimits = Annotated[limits.SignInLimits, Depends(_sign_in_limits)]


async def _on_sign_in(connection: HTTPConnection) -> Callable[[str], None]:
    action: Callable[[str], None] = connection.app.state.on_sign_in
    return action


async def _sign_in(
    *,
    db: Transaction,
    settings: Settings,
    clock: Clock,
    mail_queue: MailQueue,
    sessions: Sessions,
    on_sign_in: Annotated[Callable[[str], None], Depends(_on_sign_in)],
    throttle: AuditThrottle,
) -> sign_in.SignIn:
    return sign_in.SignIn(
        db,
        settings=settings,
        clock=clock,
        mail_queue=mail_queue,
        sessions=sessions,
        on_sign_in=on_sign_in,
        throttle=throttle,
    )


SignIn = Annotated[sign_in.SignIn, Depends(_sign_in)]


async def _user_administration(
    *,
    admin: AdminUser,
    db: Transaction,
    settings: Settings,
    clock: Clock,
    mail_queue: MailQueue,
    sessions: Sessions,
) -> users.UserAdministration:
    return users.UserAdministration(
        db,
        admin=admin,
        settings=settings,
        clock=clock,
        mail_queue=mail_queue,
        sessions=sessions,
    )


UserAdministration = Annotated[users.UserAdministration, Depends(_user_administration)]


async def _own_account(
    user: CurrentUser, db: Transaction, clock: Clock, sessions: Sessions
) -> users.UserDeletion:
    return users.UserDeletion(db, actor=user.user_id, clock=clock, sessions=sessions)


OwnAccount = Annotated[users.UserDeletion, Depends(_own_account)]
