"""An agent's scheduled jobs, listed and changed through its gateway, which alone has them.

Nothing here wakes an agent: while it is asleep, the calls raise a 409 `Problem`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ocmt_common.agent_api import Job
from ocmt_common.problems import Problem

from ocmt_agent.decisions.activity import ActivityKind
from ocmt_agent.gateway.access import GatewayAccess
from ocmt_agent.gateway.admin import GatewayRefused, GatewayUnreachable
from ocmt_agent.gateway.control import GatewayControl
from ocmt_agent.hibernation.wake import WakeTransitions
from ocmt_agent.records.registry import AgentRegistry


class AgentJobs:
    def __init__(
        self, gateway: GatewayControl, registry: AgentRegistry, wakes: WakeTransitions
    ) -> None:
        self._gateway = gateway
        self._registry = registry
        self._wakes = wakes

    async def all(self, user_id: str) -> list[Job]:
        async with self._access(user_id) as access:
            return await self._gateway.list_jobs(access)

    async def run(self, user_id: str, job_id: str) -> None:
        async with self._changing(user_id, job_id) as access:
            await self._gateway.run_job(access, job_id)

    async def enable(self, user_id: str, job_id: str, *, enabled: bool) -> None:
        async with self._changing(user_id, job_id) as access:
            await self._gateway.enable_job(access, job_id, enabled=enabled)

    async def remove(self, user_id: str, job_id: str) -> None:
        async with self._changing(user_id, job_id) as access:
            await self._gateway.remove_job(access, job_id)

    @asynccontextmanager
    async def _changing(self, user_id: str, job_id: str) -> AsyncIterator[GatewayAccess]:
        """Access for a change of one of the agent's own jobs, which counts as activity.

        Raises `Problem`, also for an unknown job and for one of OpenClaw's.
        """
        async with self._access(user_id) as access:
            found = {job.id: job for job in await self._gateway.list_jobs(access)}.get(job_id)
            if found is None:
                raise Problem(404, "no-such-job", "This job does not exist. Reload the list.")
            if not found.editable:
                raise Problem(
                    409, "job-not-editable", "OpenClaw keeps this job itself; it cannot be changed."
                )
            agent = self._registry.get(user_id)
            self._registry.touch(agent, ActivityKind.HTTP)
            yield access
            agent.jobs_read_at = float("-inf")  # its next job may have changed

    @asynccontextmanager
    async def _access(self, user_id: str) -> AsyncIterator[GatewayAccess]:
        async with self._wakes.using_if_awake(user_id) as access:
            try:
                yield access
            except GatewayUnreachable as error:
                self._wakes.doubt(access)
                raise Problem(
                    503,
                    "gateway-unreachable",
                    "The agent does not answer. Try again in a moment.",
                    retry_after_s=5,
                ) from error
            except GatewayRefused as error:
                if error.passing:
                    raise Problem(
                        503,
                        "gateway-unreachable",
                        "The agent is starting. Try again.",
                        retry_after_s=5,
                    ) from error
                raise Problem(
                    409, "job-refused", f"OpenClaw refused the request: {error.message}"
                ) from error
