"""Orders to people's agents, and the last day of their host. Every route here requires an admin.

An admin sees states and figures of an agent, never its files, conversations, jobs or log.
"""

from fastapi import APIRouter
from ocmt_common.user_ids import UserId

from ocmt_management.admin.schemas import AgentOrder, HostAnswer, Order
from ocmt_management.agents.dependencies import Agents
from ocmt_management.agents.service import AgentView
from ocmt_management.auth.dependencies import AdminUser

router = APIRouter(prefix="/api/admin")


@router.post("/agents/{user_id}/order", status_code=202)
async def order_agent(
    user_id: UserId, body: AgentOrder, admin: AdminUser, agents: Agents
) -> AgentView:
    match body.order:
        case Order.WAKE:
            await agents.wake(user_id)
        case Order.RESTART:
            await agents.restart(user_id, actor=admin.user_id)
        case Order.PAUSE | Order.STOP:
            await agents.hibernate(user_id, str(body.order), actor=admin.user_id)
    return await agents.view(user_id)


@router.get("/host")
async def show_host(_: AdminUser, agents: Agents) -> HostAnswer:
    health, day = await agents.server.host()
    return HostAnswer(now=health, day=day)
