"""One's own agent, and everybody's for an admin."""

from fastapi import APIRouter
from ocmt_common.user_ids import UserId

from ocmt_management.agents.schemas import AgentsAnswer, AgentView
from ocmt_management.auth.dependencies import AdminUser, CurrentUser
from ocmt_management.dependencies import Server

router = APIRouter()


@router.get("/api/agent")
async def show_agent(user: CurrentUser, server: Server) -> AgentView:
    return await server.agents.view(user.user_id)


@router.post("/api/agent", status_code=202)
async def make_agent(user: CurrentUser, server: Server) -> AgentView:
    server.agents.ensure(user.user_id)
    return await server.agents.view(user.user_id)


@router.post("/api/agent/wake", status_code=202)
async def wake_agent(user: CurrentUser, server: Server) -> AgentView:
    await server.agents.wake(user.user_id)
    return await server.agents.view(user.user_id)


@router.get("/api/admin/agents")
async def list_agents(_: AdminUser, server: Server) -> AgentsAnswer:
    return AgentsAnswer(agents=await server.agents.rows())


@router.post("/api/admin/agents/{user_id}/token", status_code=202)
async def renew_token(user_id: UserId, admin: AdminUser, server: Server) -> AgentView:
    await server.agents.renew_token(user_id, actor=admin.user_id)
    server.llm.user_changed(user_id)
    return await server.agents.view(user_id)
