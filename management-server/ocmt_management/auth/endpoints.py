"""Sign-in, sign-out and the list of one's sessions."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends
from ocmt_common.problems import PROBLEM_IN_SCOPE, Problem
from starlette.requests import Request
from starlette.responses import Response

from ocmt_management.auth.client_address import asker_of
from ocmt_management.auth.cookies import session_cookie, verifier_cookie
from ocmt_management.auth.dependencies import CurrentUser, principal_of
from ocmt_management.auth.models import Role
from ocmt_management.auth.schemas import (
    CodeAnswer,
    LinkAccount,
    LinkAnswer,
    LinkRequest,
    OpenedLink,
    SessionRequest,
    SessionsAnswer,
    SessionView,
    UserAnswer,
    UserView,
)
from ocmt_management.auth.sessions import Sessions
from ocmt_management.auth.sign_in import CodeShown, SignIn, link_invalid
from ocmt_management.dependencies import Db, Server
from ocmt_management.tokens import new_token

router = APIRouter(prefix="/api/auth")


def _sessions(server: Server, db: Db) -> Sessions:
    return Sessions(db, server.clock, server.ended)


UserSessions = Annotated[Sessions, Depends(_sessions)]


def _sign_in(server: Server, db: Db, sessions: UserSessions) -> SignIn:
    return SignIn(
        db,
        settings=server.settings,
        clock=server.clock,
        outbox=server.outbox,
        sessions=sessions,
        ensure_agent=server.ensure_agent,
        throttle=server.throttle,
    )


@router.post("/link", status_code=202)
async def ask_for_link(
    body: LinkRequest,
    request: Request,
    response: Response,
    server: Server,
    sign_in: Annotated[SignIn, Depends(_sign_in)],
) -> LinkAnswer:
    server.limits.ask(asker_of(request), address=body.email)
    if not server.settings.smtp_host:
        # Whoever waited for this mail would wait for ever.
        raise Problem(
            409,
            "no-mail",
            "This server sends no mail, so no link can be mailed. Ask whoever runs it for a link: "
            "`./ocmt link --email …` with your address makes one.",
        )
    cookie = verifier_cookie(secure=server.settings.secure)
    # The same browser asking twice keeps its verifier: both links work in it.
    verifier = cookie.read(request) or new_token()
    cookie.write(response, verifier)
    await sign_in.ask(body.email, verifier=verifier, client=asker_of(request).client)
    return LinkAnswer(
        message="If this address may sign in, a link is on its way or in its mailbox already. "
        "Each works for ten minutes."
    )


@router.post("/link/account")
async def show_account(
    body: OpenedLink,
    request: Request,
    server: Server,
    sign_in: Annotated[SignIn, Depends(_sign_in)],
) -> LinkAccount:
    """Tell who has the link whose account it is for, before it is used."""
    server.limits.redeem(asker_of(request))
    verifier = verifier_cookie(secure=server.settings.secure).read(request)
    account = await sign_in.account(body.token, verifier=verifier)
    if account is None:
        raise link_invalid()
    present = await principal_of(request, used=False)
    email, here = account
    return LinkAccount(
        email=email, here=here, signed_in_as=None if present is None else present.email
    )


@router.post("/session", response_model=UserAnswer | CodeAnswer)
async def begin_session(
    *,
    body: SessionRequest,
    request: Request,
    response: Response,
    server: Server,
    sign_in: Annotated[SignIn, Depends(_sign_in)],
    sessions: UserSessions,
) -> UserAnswer | CodeAnswer | Response:
    server.limits.redeem(asker_of(request))
    previous = await principal_of(request, used=False)
    secure = server.settings.secure
    verifier = verifier_cookie(secure=secure).read(request)
    user_agent = request.headers.get("user-agent", "")
    if body.token is not None:
        outcome = await sign_in.use_token(body.token, verifier=verifier, user_agent=user_agent)
    else:
        outcome = await sign_in.use_code(body.code or "", verifier=verifier, user_agent=user_agent)
    if outcome is None:
        # Answered, not raised: the try must stay counted when the unit of work ends.
        problem = link_invalid()
        request.scope[PROBLEM_IN_SCOPE] = problem.code
        return problem.response()
    if isinstance(outcome, CodeShown):
        return CodeAnswer(code=outcome.code)
    if previous is not None:
        await sessions.end(previous.user_id, previous.session_id, action="session.replaced")
    session_cookie(secure=secure).write(response, outcome.session_token)
    verifier_cookie(secure=secure).clear(response)
    user = outcome.user
    return UserAnswer(user=UserView(id=user.id, email=user.email, role=Role(user.role)))


@router.delete("/session", status_code=204)
async def end_session(
    user: CurrentUser, response: Response, server: Server, sessions: UserSessions
) -> None:
    await sessions.end(user.user_id, user.session_id, action="sign-out")
    session_cookie(secure=server.settings.secure).clear(response)


@router.get("/sessions")
async def list_sessions(user: CurrentUser, sessions: UserSessions) -> SessionsAnswer:
    return SessionsAnswer(
        sessions=[
            SessionView(
                id=row.id,
                created_at=row.created_at,
                last_used_at=row.last_used_at,
                user_agent=row.user_agent,
                current=row.id == user.session_id,
            )
            for row in await sessions.list(user.user_id)
        ]
    )


@router.delete("/sessions/{session_id}", status_code=204)
async def revoke_session(session_id: UUID, user: CurrentUser, sessions: UserSessions) -> None:
    if not await sessions.end(user.user_id, str(session_id), action="session.ended"):
        raise Problem(404, "session-unknown", "You have no such session; list them again.")
