"""The signed-in user's tools: servers, credentials, rules, changes and last uses.

Changes are committed before a server's tools are read, so no transaction stays open meanwhile.
"""

from uuid import UUID

from fastapi import APIRouter

from ocmt_management.auth.dependencies import CurrentUser
from ocmt_management.tools import service, views
from ocmt_management.tools.dependencies import Tools, ToolViews
from ocmt_management.tools.schemas import (
    Acceptance,
    ChangesAnswer,
    ConnectionBody,
    NewServer,
    RuleBody,
    ServerChange,
    ServerView,
    SignInAnswer,
    ToolsAnswer,
    UsesAnswer,
)

router = APIRouter(prefix="/api/tools")


@router.get("")
async def show_tools(shown: ToolViews) -> ToolsAnswer:
    return await shown.all()


@router.get("/uses")
async def show_uses(shown: ToolViews) -> UsesAnswer:
    return await shown.uses()


@router.post("/servers", status_code=201)
async def add_server(body: NewServer, user: CurrentUser, tools: Tools) -> ServerView:
    async with tools.changing(user.user_id) as servers:
        server_id = await servers.add(body)
    await tools.refresh(user.user_id, server_id)
    return await _view(tools, user.user_id, server_id)


@router.patch("/servers/{server_id}")
async def change_server(
    server_id: UUID, body: ServerChange, user: CurrentUser, tools: Tools
) -> ServerView:
    async with tools.changing(user.user_id) as servers:
        await servers.change(str(server_id), body)
    return await _view(tools, user.user_id, str(server_id))


@router.delete("/servers/{server_id}", status_code=204)
async def delete_server(server_id: UUID, user: CurrentUser, tools: Tools) -> None:
    await tools.sign_out(user.user_id, str(server_id))
    async with tools.changing(user.user_id) as servers:
        await servers.delete(str(server_id))


@router.put("/servers/{server_id}/connection")
async def connect_server(
    server_id: UUID, body: ConnectionBody, user: CurrentUser, tools: Tools
) -> ServerView:
    async with tools.changing(user.user_id) as servers:
        await servers.connect(str(server_id), body.credential)
    await tools.refresh(user.user_id, str(server_id))
    return await _view(tools, user.user_id, str(server_id))


@router.delete("/servers/{server_id}/connection", status_code=204)
async def disconnect_server(server_id: UUID, user: CurrentUser, tools: Tools) -> None:
    await tools.sign_out(user.user_id, str(server_id))
    async with tools.changing(user.user_id) as servers:
        over_stdio = await servers.disconnect(str(server_id))
    if over_stdio:
        tools.disconnected(str(server_id), [user.user_id])


@router.post("/servers/{server_id}/sign-in")
async def sign_in_to_server(server_id: UUID, user: CurrentUser, tools: Tools) -> SignInAnswer:
    return SignInAnswer(url=await tools.sign_in(user.user_id, user.session_id, str(server_id)))


@router.post("/servers/{server_id}/refresh")
async def refresh_server(server_id: UUID, user: CurrentUser, tools: Tools) -> ServerView:
    await _view(tools, user.user_id, str(server_id))
    await tools.refresh(user.user_id, str(server_id))
    return await _view(tools, user.user_id, str(server_id))


@router.put("/servers/{server_id}/rule")
async def set_rule(server_id: UUID, body: RuleBody, user: CurrentUser, tools: Tools) -> ServerView:
    async with tools.changing(user.user_id) as servers:
        await servers.set_rule(str(server_id), body.tool, body.rule)
    return await _view(tools, user.user_id, str(server_id))


@router.get("/servers/{server_id}/changes")
async def show_changes(server_id: UUID, shown: ToolViews) -> ChangesAnswer:
    return await shown.changes(str(server_id))


@router.post("/servers/{server_id}/changes")
async def accept_change(
    server_id: UUID, body: Acceptance, user: CurrentUser, tools: Tools
) -> ServerView:
    async with tools.changing(user.user_id) as servers:
        await servers.accept(str(server_id), body.tool, bytes.fromhex(body.pin))
    return await _view(tools, user.user_id, str(server_id))


async def _view(tools: service.Tools, user_id: str, server_id: str) -> ServerView:
    async with tools.database.read() as session:
        shown = views.ToolViews(session, keys=tools.keys, clock=tools.clock, user_id=user_id)
        return await shown.one(server_id)
