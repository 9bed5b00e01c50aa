"""The name and the face of the signed-in user's own agent; `GET /api/me` has them."""

import structlog
from fastapi import APIRouter
from ocmt_common.problems import Problem

from ocmt_management.agents.identity import (
    IdentityRequest,
    IdentityView,
    is_emoji,
    set_identity,
    with_identity,
)
from ocmt_management.agents.panel import AgentPanel
from ocmt_management.agents.panel_endpoints import Panel
from ocmt_management.auth.dependencies import CurrentUser
from ocmt_management.dependencies import Database

log = structlog.get_logger(__name__)

_FILE = "IDENTITY.md"
_MAX_FILE_BYTES = 64 * 1024

router = APIRouter(prefix="/api/agent")


@router.put("/identity")
async def change_identity(
    body: IdentityRequest, user: CurrentUser, panel: Panel, database: Database
) -> IdentityView:
    # Committed first: no transaction stays open while the agent server is called.
    async with database.write() as session:
        await set_identity(session, user.user_id, body)
    await _tell_agent(panel, body)
    return IdentityView(name=body.name, face=body.face)


async def _tell_agent(panel: AgentPanel, wanted: IdentityRequest) -> None:
    """Write name and emoji into the agent's file. An agent that is not made yet has none."""
    try:
        before = await panel.read_file(_FILE, limit=_MAX_FILE_BYTES)
        after = with_identity(before, wanted.name, wanted.face if is_emoji(wanted.face) else "")
        if after != before:
            await panel.write_file(_FILE, after.encode())
    except Problem as problem:
        log.info("agent does not know its name", reason=problem.code)
