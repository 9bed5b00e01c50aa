"""The signed-in user's agent."""

from fastapi import APIRouter

from ocmt_management.agents.dependencies import Agents
from ocmt_management.agents.schemas import AgentView
from ocmt_management.auth.dependencies import CurrentUser

router = APIRouter(prefix="/api/agent")


@router.get("")
async def show_agent(user: CurrentUser, agents: Agents) -> AgentView:
    return await agents.view(user.user_id)


@router.post("", status_code=202)
async def provision_agent(user: CurrentUser, agents: Agents) -> AgentView:
    agents.ensure(user.user_id)
    return await agents.view(user.user_id)


@router.post("/wake", status_code=202)
async def wake_agent(user: CurrentUser, agents: Agents) -> AgentView:
    await agents.wake(user.user_id)
    return await agents.view(user.user_id)
