"""Shared servers and the admins' rules for them. Every route requires an admin."""

from uuid import UUID

from fastapi import APIRouter

from ocmt_management.auth.dependencies import AdminUser
from ocmt_management.tools import service, views
from ocmt_management.tools.dependencies import SharedServerViews, Tools
from ocmt_management.tools.schemas import (
    NewSharedServer,
    RuleBody,
    ServerChange,
    SharedServersAnswer,
    SharedServerView,
)

router = APIRouter(prefix="/api/admin/tools")


@router.get("")
async def list_shared_servers(shown: SharedServerViews) -> SharedServersAnswer:
    return await shown.all()


@router.post("/servers", status_code=201)
async def add_shared_server(
    body: NewSharedServer, admin: AdminUser, tools: Tools
) -> SharedServerView:
    async with tools.changing_shared(admin.user_id) as servers:
        server_id = await servers.add(body)
    return await _view(tools, admin.user_id, server_id)


@router.patch("/servers/{server_id}")
async def change_shared_server(
    server_id: UUID, body: ServerChange, admin: AdminUser, tools: Tools
) -> SharedServerView:
    async with tools.changing_shared(admin.user_id) as servers:
        changed = await servers.change(str(server_id), body)
    tools.changed(changed)
    return await _view(tools, admin.user_id, str(server_id))


@router.delete("/servers/{server_id}", status_code=204)
async def delete_shared_server(server_id: UUID, admin: AdminUser, tools: Tools) -> None:
    async with tools.changing_shared(admin.user_id) as servers:
        changed, over_stdio = await servers.delete(str(server_id))
    tools.changed(changed)
    if over_stdio:
        tools.disconnected(str(server_id), changed)


@router.put("/servers/{server_id}/rule")
async def set_shared_rule(
    server_id: UUID, body: RuleBody, admin: AdminUser, tools: Tools
) -> SharedServerView:
    async with tools.changing_shared(admin.user_id) as servers:
        changed = await servers.set_rule(str(server_id), body.tool, body.rule)
    tools.changed(changed)
    return await _view(tools, admin.user_id, str(server_id))


async def _view(tools: service.Tools, admin_id: str, server_id: str) -> SharedServerView:
    async with tools.database.read() as session:
        return await views.SharedServerViews(session, admin_id).one(server_id)
