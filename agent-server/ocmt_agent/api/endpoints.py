"""The routes of the HTTP API. A test compares them with `docs/agent-api.md`."""

from collections.abc import AsyncIterator
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import PlainTextResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from ocmt_common.agent_api import (
    AgentModel,
    AgentPolicy,
    AgentServerHealth,
    Container,
    EventHistory,
    HibernateRequest,
    HostDay,
    JobChange,
    JobId,
    Jobs,
    ProvisionRequest,
    ToolsVersionRequest,
    Wire,
)
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import TypeAdapter

from ocmt_agent.api.dependencies import Parts
from ocmt_agent.api.state_explanation import because
from ocmt_agent.decisions.activity import ActivityKind
from ocmt_agent.records.agent import Agent

router = APIRouter()

_JSON = "application/json"
_LIST = TypeAdapter(list[Container])


async def _parts(request: Request) -> Parts:
    parts: Parts = request.app.state.parts
    return parts


PartsDep = Annotated[Parts, Depends(_parts)]


class Snapshot(Wire):
    """The first event of `GET /api/events`."""

    containers: list[Container]


def _container(parts: Parts, agent: Agent) -> Container:
    now = parts.clock.now()
    container = agent.container(now=now)
    container.because = because(agent, now=now)
    container.home = parts.runtime.home(agent.user_id).name
    planned = parts.hibernation.schedule.next_wake(agent)
    container.next_wake_at = planned[0] if planned else None
    return container


def _containers(parts: Parts) -> list[Container]:
    return [_container(parts, agent) for agent in parts.registry.all()]


@router.get("/health")
async def health(parts: PartsDep) -> AgentServerHealth:
    return await parts.health.read()


@router.get("/metrics")
async def metrics(parts: PartsDep) -> Response:
    return Response(parts.registry.metrics.text(), media_type=CONTENT_TYPE_LATEST)


@router.get("/api/events", response_class=EventSourceResponse)
async def follow_events(parts: PartsDep) -> AsyncIterator[ServerSentEvent]:
    with parts.hub.subscribed() as subscription:
        # Subscribe first and do not await in between: no change is missed or sent twice.
        snapshot = Snapshot(containers=_containers(parts))
        yield ServerSentEvent(event="snapshot", raw_data=snapshot.model_dump_json(by_alias=True))
        while (event := await subscription.next()) is not None:
            yield ServerSentEvent(raw_data=event.model_dump_json(by_alias=True))


@router.get("/api/host")
async def show_host(parts: PartsDep) -> HostDay:
    return await parts.host.last_day()


@router.get("/api/containers")
async def list_containers(parts: PartsDep) -> Response:
    # Serialised here: FastAPI would validate and copy every container again.
    return Response(_LIST.dump_json(_containers(parts), by_alias=True), media_type=_JSON)


@router.post("/api/containers")
async def provision(body: ProvisionRequest, parts: PartsDep, response: Response) -> Container:
    agent, made = await parts.provisioning.provision(body)
    response.status_code = 201 if made else 200
    return _container(parts, agent)


@router.get("/api/containers/{user_id}")
async def get_container(user_id: str, parts: PartsDep) -> Container:
    return _container(parts, parts.registry.get(user_id))


@router.delete("/api/containers/{user_id}", status_code=204)
async def remove_container(
    user_id: str, parts: PartsDep, state: Literal["keep", "delete"] = "keep"
) -> None:
    await parts.provisioning.remove(user_id, with_state=state == "delete")


@router.post("/api/containers/{user_id}/wake")
async def wake(user_id: str, parts: PartsDep) -> Container:
    await parts.hibernation.wakes.awake(user_id, kind=ActivityKind.WAKE)
    return _container(parts, parts.registry.get(user_id))


@router.post("/api/containers/{user_id}/hibernate")
async def hibernate(user_id: str, body: HibernateRequest, parts: PartsDep) -> Container:
    return _container(parts, await parts.hibernation.orders.hibernate(user_id, body.mode))


@router.post("/api/containers/{user_id}/hibernate/force")
async def force_hibernate(user_id: str, body: HibernateRequest, parts: PartsDep) -> Container:
    orders = parts.hibernation.orders
    return _container(parts, await orders.hibernate(user_id, body.mode, force=True))


@router.post("/api/containers/{user_id}/restart")
async def restart(user_id: str, parts: PartsDep) -> Container:
    return _container(parts, await parts.hibernation.orders.restart(user_id))


@router.post("/api/containers/{user_id}/revert")
async def revert(user_id: str, parts: PartsDep) -> Container:
    return _container(parts, await parts.provisioning.revert(user_id))


@router.post("/api/containers/{user_id}/disable")
async def disable(user_id: str, parts: PartsDep) -> Container:
    return _container(parts, await parts.hibernation.orders.disable(user_id))


@router.post("/api/containers/{user_id}/enable")
async def enable(user_id: str, parts: PartsDep) -> Container:
    return _container(parts, await parts.hibernation.orders.enable(user_id))


@router.get("/api/containers/{user_id}/policy")
async def get_policy(user_id: str, parts: PartsDep) -> AgentPolicy:
    return parts.registry.get(user_id).policy


@router.put("/api/containers/{user_id}/policy")
async def set_policy(user_id: str, body: AgentPolicy, parts: PartsDep) -> AgentPolicy:
    return (await parts.live_configs.set_policy(user_id, body)).policy


@router.put("/api/containers/{user_id}/tools-version", status_code=204)
async def set_tools_version(user_id: str, body: ToolsVersionRequest, parts: PartsDep) -> None:
    await parts.live_configs.set_tools_version(user_id, body.version)


@router.put("/api/containers/{user_id}/model", status_code=204)
async def set_model(user_id: str, body: AgentModel, parts: PartsDep) -> None:
    await parts.live_configs.set_model(user_id, body)


@router.get("/api/containers/{user_id}/jobs")
async def list_jobs(user_id: str, parts: PartsDep) -> Jobs:
    return Jobs(jobs=await parts.jobs.all(user_id))


@router.post("/api/containers/{user_id}/jobs/{job_id}/run", status_code=202)
async def run_job(user_id: str, job_id: JobId, parts: PartsDep) -> None:
    await parts.jobs.run(user_id, job_id)


@router.patch("/api/containers/{user_id}/jobs/{job_id}", status_code=204)
async def change_job(user_id: str, job_id: JobId, body: JobChange, parts: PartsDep) -> None:
    await parts.jobs.enable(user_id, job_id, enabled=body.enabled)


@router.delete("/api/containers/{user_id}/jobs/{job_id}", status_code=204)
async def remove_job(user_id: str, job_id: JobId, parts: PartsDep) -> None:
    await parts.jobs.remove(user_id, job_id)


@router.get("/api/containers/{user_id}/events")
async def list_events(
    user_id: str,
    parts: PartsDep,
    limit: Annotated[int, Query(ge=1, le=200)] = 100,
    before: Annotated[int | None, Query(ge=1, lt=2**63)] = None,
) -> EventHistory:
    agent = parts.registry.get(user_id)
    events = await parts.registry.events(agent, limit=limit, before=before)
    planned = parts.hibernation.schedule.next_wake(agent)
    return EventHistory(
        events=events,
        next_wake_at=planned[0] if planned else None,
        next_wake_for=str(planned[1]) if planned else None,
        earlier=events[0].id if len(events) == limit else None,
        because=because(agent, now=parts.clock.now()),
    )


@router.get("/api/containers/{user_id}/logs", response_class=PlainTextResponse)
async def logs(
    user_id: str, parts: PartsDep, lines: Annotated[int, Query(ge=1, le=2000)] = 200
) -> str:
    return await parts.provisioning.logs(user_id, lines=lines)
