"""FastAPI dependencies: the tools."""

from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from ocmt_management.auth.dependencies import AdminUser, CurrentUser
from ocmt_management.dependencies import Clock, Transaction
from ocmt_management.tools import service, views
from ocmt_management.vault.dependencies import KeyRing


async def _tools(connection: HTTPConnection) -> service.Tools:
    tools: service.Tools = connection.app.state.tools
    return tools


Tools = Annotated[service.Tools, Depends(_tools)]


async def _approvals(connection: HTTPConnection) -> service.Approvals:
    approvals: service.Approvals = connection.app.state.approvals
    return approvals


Approvals = Annotated[service.Approvals, Depends(_approvals)]


async def _tool_views(
    user: CurrentUser, db: Transaction, keys: KeyRing, clock: Clock
) -> views.ToolViews:
    return views.ToolViews(db, keys=keys, clock=clock, user_id=user.user_id)


ToolViews = Annotated[views.ToolViews, Depends(_tool_views)]
"""What the signed-in user sees of their tools, within the request's transaction."""


async def _shared_server_views(admin: AdminUser, db: Transaction) -> views.SharedServerViews:
    return views.SharedServerViews(db, admin.user_id)


SharedServerViews = Annotated[views.SharedServerViews, Depends(_shared_server_views)]
