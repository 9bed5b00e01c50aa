"""Audits refused requests: invalid links, missing permissions, cross-site requests, rate limits."""

import structlog
from ocmt_common.problems import PROBLEM_IN_SCOPE, Problem
from ocmt_common.web import USER_IN_SCOPE
from starlette.datastructures import State
from starlette.types import ASGIApp, Receive, Scope, Send

from ocmt_management.audit.service import STRANGER, Audit, AuditThrottle
from ocmt_management.clock import Clock
from ocmt_management.db import Database

log = structlog.get_logger(__name__)

_RECORDED = {
    "link-invalid": "sign-in.failed",
    "not-admin": "refused.not-admin",
    "cross-site": "refused.cross-site",
    "too-many-attempts": "refused.too-many-attempts",
}
"""Action by problem code. A missing session is not recorded: every visit begins without one."""


class RefusedRequestsMiddleware:
    """Records refusals in a transaction of their own: the request's has been rolled back."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.app(scope, receive, send)
        finally:
            action = _RECORDED.get(scope.get(PROBLEM_IN_SCOPE, ""))
            if action is not None:
                await _record(scope, action, scope["app"].state)


async def _record(scope: Scope, action: str, state: State) -> None:
    """Record a refusal. A database failure is only logged, and does not change the response."""
    database: Database = state.database
    clock: Clock = state.clock
    throttle: AuditThrottle = state.audit_throttle
    client = str((scope.get("client") or ("",))[0])
    user_id = scope.get(USER_IN_SCOPE)
    skipped = throttle.take(action, user_id or client)
    if skipped is None:
        return
    what = f"{scope.get('method', 'WEBSOCKET')} {scope['path']}"
    try:
        async with database.write() as session:
            Audit(session, clock).record(
                action,
                user_id=user_id or "",
                actor=user_id or STRANGER,
                detail=f"{what} ({skipped} more since the last)" if skipped else what,
            )
    except Problem as problem:
        log.warning("refusal not recorded", action=action, reason=problem.detail)
