"""Sign-in, sign-out and the list of the user's sessions."""

from uuid import UUID

from fastapi import APIRouter
from ocmt_common.problems import PROBLEM_IN_SCOPE, Problem
from starlette.requests import Request
from starlette.responses import Response

from ocmt_management.auth.client_address import client_address_of
from ocmt_management.auth.cookies import session_cookie, verifier_cookie
from ocmt_management.auth.dependencies import (
    CurrentUser,
    Sessions,
    SignIn,
    SignInLimits,
    user_of,
)
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
from ocmt_management.auth.sign_in import CodeShown, link_invalid
from ocmt_management.dependencies import Settings
from ocmt_management.tokens import new_token

router = APIRouter(prefix="/api/auth")


@router.post("/link", status_code=202)
async def request_link(
    *,
    body: LinkRequest,
    request: Request,
    response: Response,
    settings: Settings,
    limits: SignInLimits,
    sign_in: SignIn,
) -> LinkAnswer:
    client = client_address_of(request)
    limits.request_link(client, email=body.email)
    if not settings.smtp_host:
        raise Problem(
            409,
            "no-mail",
            "This server sends no mail. Ask the person who runs it for a sign-in link.",
        )
    cookie = verifier_cookie(secure=settings.secure)
    # A browser that requests two links keeps its verifier, so both work in it.
    verifier = cookie.read(request) or new_token()
    cookie.write(response, verifier)
    await sign_in.request_link(body.email, verifier=verifier, client=client.host)
    return LinkAnswer(
        message="If this address may sign in, a link is on its way or in its mailbox already. "
        "A link works for ten minutes. Without a mail by then, look among the spam, or ask an "
        "admin here whether the address is invited and its account active."
    )


@router.post("/link/account")
async def show_account(
    body: OpenedLink,
    request: Request,
    settings: Settings,
    limits: SignInLimits,
    sign_in: SignIn,
) -> LinkAccount:
    """Show which account a link signs in to, before it is used."""
    limits.redeem(client_address_of(request))
    verifier = verifier_cookie(secure=settings.secure).read(request)
    account = await sign_in.account(body.token, verifier=verifier)
    if account is None:
        raise link_invalid()
    present = await user_of(request, used=False)
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
    settings: Settings,
    limits: SignInLimits,
    sign_in: SignIn,
    sessions: Sessions,
) -> UserAnswer | CodeAnswer | Response:
    limits.redeem(client_address_of(request))
    previous = await user_of(request, used=False)
    secure = settings.secure
    verifier = verifier_cookie(secure=secure).read(request)
    user_agent = request.headers.get("user-agent", "")
    if body.token is not None:
        outcome = await sign_in.use_token(body.token, verifier=verifier, user_agent=user_agent)
    else:
        outcome = await sign_in.use_code(body.code or "", verifier=verifier, user_agent=user_agent)
    if outcome is None:
        # Returned, not raised: a rollback would also undo the count of this attempt.
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
    user: CurrentUser, response: Response, settings: Settings, sessions: Sessions
) -> None:
    await sessions.end(user.user_id, user.session_id, action="sign-out")
    session_cookie(secure=settings.secure).clear(response)


@router.get("/sessions")
async def list_sessions(user: CurrentUser, sessions: Sessions) -> SessionsAnswer:
    return SessionsAnswer(
        sessions=[
            SessionView(
                id=row.id,
                created_at=row.created_at,
                last_used_at=row.last_used_at,
                user_agent=row.user_agent,
                client=row.client,
                current=row.id == user.session_id,
            )
            for row in await sessions.list(user.user_id)
        ]
    )


@router.delete("/sessions", status_code=204)
async def end_all_sessions(
    user: CurrentUser, response: Response, settings: Settings, sessions: Sessions
) -> None:
    """Sign out everywhere, here too."""
    await sessions.end_all(user.user_id, actor=user.user_id)
    session_cookie(secure=settings.secure).clear(response)


@router.delete("/sessions/{session_id}", status_code=204)
async def revoke_session(session_id: UUID, user: CurrentUser, sessions: Sessions) -> None:
    if not await sessions.end(user.user_id, str(session_id), action="session.ended"):
        raise Problem(404, "session-unknown", "You have no such session. Reload the list.")
