"""The signed-in user's own agent in detail: its state's reasons, times, jobs and log.

All of it is read and changed through the agent server, and nothing here wakes an agent.
"""

from collections.abc import AsyncIterator

from ocmt_common.agent_api import (
    AgentPolicy,
    Container,
    EventHistory,
    FileListing,
    Job,
    JobChange,
    Jobs,
)
from ocmt_common.problems import Problem

from ocmt_management.agents.client import AgentServerUnreachable, NoSuchAgent
from ocmt_management.agents.own_times import Bounds, changed, shown
from ocmt_management.agents.schemas import AgentPanelView, OwnTimes, TimesView
from ocmt_management.agents.service import Agents

_MOST_EVENTS = 200


class AgentPanel:
    def __init__(self, agents: Agents, *, user_id: str, bounds: Bounds) -> None:
        self._agents = agents
        self._server = agents.server
        self._user_id = user_id
        self._bounds = bounds

    async def view(self) -> AgentPanelView:
        view = await self._agents.view(self._user_id)
        try:
            container = await self._server.read(self._user_id, "", Container)
            history = await self._server.read(
                self._user_id, "/events", EventHistory, params={"limit": _MOST_EVENTS}
            )
            policy = await self._policy()
        except (NoSuchAgent, AgentServerUnreachable):
            return AgentPanelView(
                **view.model_dump(),
                awake_because=[],
                last_activity=None,
                next_wake_at=None,
                next_wake_for=None,
                memory=None,
                disk=None,
                events=[],
                times=None,
            )
        return AgentPanelView(
            **view.model_dump(),
            awake_because=container.awake_because,
            last_activity=container.last_activity,
            next_wake_at=history.next_wake_at,
            next_wake_for=history.next_wake_for,
            memory=container.memory,
            disk=container.disk,
            events=history.events,
            times=shown(policy, self._bounds),
        )

    async def set_times(self, wanted: OwnTimes) -> TimesView:
        policy = changed(await self._policy(), wanted, self._bounds)
        await self._server.send(
            "PUT",
            self._user_id,
            "/policy",
            json=policy.model_dump(mode="json", by_alias=True, exclude_none=True),
        )
        return shown(policy, self._bounds)

    async def jobs(self) -> list[Job]:
        return (await self._server.read(self._user_id, "/jobs", Jobs)).jobs

    async def run_job(self, job_id: str) -> None:
        await self._server.send("POST", self._user_id, f"/jobs/{job_id}/run", repeatable=False)

    async def change_job(self, job_id: str, change: JobChange) -> None:
        body = change.model_dump(by_alias=True)
        await self._server.send("PATCH", self._user_id, f"/jobs/{job_id}", json=body)

    async def remove_job(self, job_id: str) -> None:
        try:
            await self._server.send("DELETE", self._user_id, f"/jobs/{job_id}")
        except Problem as problem:
            if problem.code != "no-such-job":  # a repeated request: the first one removed it
                raise

    async def files(self, path: str) -> FileListing:
        return await self._server.read(self._user_id, "/files", FileListing, params={"path": path})

    async def read_file(self, path: str, *, limit: int) -> str:
        """A text file of the workspace. Raises `Problem`, also above `limit` bytes."""
        read = bytearray()
        async with self._server.workspace_file(self._user_id, path) as answer:
            async for piece in answer.aiter_bytes():
                read += piece
                if len(read) > limit:
                    raise Problem(413, "file-too-large", "This file is too large to be changed.")
        return read.decode(errors="replace")

    async def write_file(self, path: str, content: AsyncIterator[bytes] | bytes) -> None:
        await self._server.send(
            "PUT",
            self._user_id,
            "/files/content",
            repeatable=False,  # what was read of the body is gone
            params={"path": path},
            content=content,
        )

    async def log(self, lines: int) -> str:
        response = await self._server.send("GET", self._user_id, "/logs", params={"lines": lines})
        return response.text

    async def _policy(self) -> AgentPolicy:
        return await self._server.read(self._user_id, "/policy", AgentPolicy)
