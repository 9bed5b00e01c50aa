"""The signed-in user's own agent in detail: why it is in its state, its times, jobs and log."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query, Request
from ocmt_common.agent_api import FileListing, JobChange, JobId, Jobs
from starlette.responses import StreamingResponse

from ocmt_management.agents.dependencies import Agents
from ocmt_management.agents.own_times import Bounds
from ocmt_management.agents.panel import AgentPanel
from ocmt_management.agents.schemas import (
    AgentPanelView,
    AgentView,
    LogView,
    OwnTimes,
    TimesView,
)
from ocmt_management.audit.service import Audit
from ocmt_management.auth.dependencies import CurrentUser, PresentUser
from ocmt_management.dependencies import Clock, Database, Settings

router = APIRouter(prefix="/api/agent")

FilePath = Annotated[str, Query(max_length=4096)]
"""Below the agent's workspace; the agent server checks it."""


async def _panel(user: PresentUser, agents: Agents, settings: Settings) -> AgentPanel:
    bounds = Bounds(
        idle_minutes=settings.own_idle_minutes_max,
        awake_hours=settings.own_awake_hours_max,
        heartbeat_minutes=settings.own_heartbeat_minutes_min,
    )
    return AgentPanel(agents, user_id=user.user_id, bounds=bounds)


Panel = Annotated[AgentPanel, Depends(_panel)]


@router.get("/panel")
async def show_panel(panel: Panel) -> AgentPanelView:
    return await panel.view()


@router.put("/times")
async def set_times(
    body: OwnTimes, user: CurrentUser, panel: Panel, database: Database, clock: Clock
) -> TimesView:
    times = await panel.set_times(body)
    # Begun afterwards: no transaction stays open while the agent server is called.
    async with database.write() as session:
        Audit(session, clock).record("agent.times", user_id=user.user_id, actor=user.user_id)
    return times


@router.post("/restart", status_code=202)
async def restart_agent(user: CurrentUser, agents: Agents) -> AgentView:
    await agents.restart(user.user_id, actor=user.user_id)
    return await agents.view(user.user_id)


@router.get("/jobs")
async def list_jobs(panel: Panel) -> Jobs:
    return Jobs(jobs=await panel.jobs())


@router.post("/jobs/{job_id}/run", status_code=202)
async def run_job(job_id: JobId, _: CurrentUser, panel: Panel) -> None:
    await panel.run_job(job_id)


@router.patch("/jobs/{job_id}", status_code=204)
async def change_job(job_id: JobId, body: JobChange, _: CurrentUser, panel: Panel) -> None:
    await panel.change_job(job_id, body)


@router.delete("/jobs/{job_id}", status_code=204)
async def remove_job(job_id: JobId, _: CurrentUser, panel: Panel) -> None:
    await panel.remove_job(job_id)


@router.get("/files")
async def list_files(panel: Panel, path: FilePath = "") -> FileListing:
    return await panel.files(path)


@router.get("/files/content", response_class=StreamingResponse)
async def read_file(user: PresentUser, agents: Agents, path: FilePath) -> StreamingResponse:
    """A file, only ever to be saved: the agent chose its bytes and its name."""
    async with AsyncExitStack() as stack:
        answer = await stack.enter_async_context(agents.server.workspace_file(user.user_id, path))
        kept = stack.pop_all()

    async def body() -> AsyncIterator[bytes]:
        async with kept:
            async for piece in answer.aiter_bytes():
                yield piece

    name = quote(path.rpartition("/")[2], safe="")
    return StreamingResponse(
        body(),
        media_type="application/octet-stream",
        headers={"Content-Disposition": f"attachment; filename*=UTF-8''{name}"},
    )


@router.put("/files/content", status_code=204)
async def write_file(_: CurrentUser, panel: Panel, path: FilePath, request: Request) -> None:
    await panel.write_file(path, request.stream())


@router.get("/log")
async def show_log(panel: Panel, lines: Annotated[int, Query(ge=1, le=2000)] = 200) -> LogView:
    return LogView(text=await panel.log(lines))
