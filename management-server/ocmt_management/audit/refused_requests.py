"""Records the requests that are refused for what their sender may not do."""

import structlog
from ocmt_common.problems import PROBLEM_IN_SCOPE, Problem
from ocmt_common.web import USER_IN_SCOPE
from starlette.types import ASGIApp, Receive, Scope, Send

from ocmt_management.audit.service import STRANGER, Audit
from ocmt_management.dependencies import Parts

log = structlog.get_logger(__name__)

_RECORDED = {
    "link-invalid": "sign-in.failed",
    "not-admin": "refused.not-admin",
    "cross-site": "refused.cross-site",
    "too-many-attempts": "refused.too-many-attempts",
}
"""By the code of the problem. A missing session is no refusal: every visit begins so."""


class RefusalMiddleware:
    """Writes a row for a refusal, in a unit of work of its own: the request's was rolled back."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.app(scope, receive, send)
        finally:
            action = _RECORDED.get(scope.get(PROBLEM_IN_SCOPE, ""))
            if action is not None:
                await _record(scope, action, scope["app"].state.parts)


async def _record(scope: Scope, action: str, parts: Parts) -> None:
    """Never fails: a refusal that cannot be recorded is answered all the same."""
    client = str((scope.get("client") or ("",))[0])
    user_id = scope.get(USER_IN_SCOPE)
    left_out = parts.throttle.take(action, user_id or client)
    if left_out is None:
        return
    what = f"{scope.get('method', 'WEBSOCKET')} {scope['path']}"
    try:
        async with parts.database.write() as session:
            Audit(session, parts.clock).record(
                action,
                user_id=user_id or "",
                actor=user_id or STRANGER,
                detail=f"{what} ({left_out} more since the last)" if left_out else what,
            )
    except Problem as problem:
        log.warning("refusal not recorded", action=action, reason=problem.detail)
