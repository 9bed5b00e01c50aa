"""Reconciles an agent's record with the runtime, and undoes interrupted hibernations."""

import asyncio
from contextlib import suppress

from ocmt_common.agent_api import Actor, HibernationState

from ocmt_agent.decisions import transition_reasons as reasons
from ocmt_agent.decisions.drift import correction, half_asleep
from ocmt_agent.decisions.transition_reasons import TransitionReason
from ocmt_agent.gateway.access import GatewayAccess
from ocmt_agent.gateway.admin import GatewayRefused, GatewayUnreachable
from ocmt_agent.gateway.control import GatewayControl
from ocmt_agent.hibernation.resume import GatewayExited, Resumer
from ocmt_agent.hibernation.suspend import AWAKE_OR_PAUSED, Suspender
from ocmt_agent.hibernation.takeover import Takeover
from ocmt_agent.memory.manager import MemoryManager
from ocmt_agent.records.agent import Agent
from ocmt_agent.records.registry import AgentRegistry
from ocmt_agent.runtime.base import Observed, Runtime, RuntimeFailed, RuntimeUnavailable


class Reconciler:
    def __init__(
        self,
        *,
        runtime: Runtime,
        gateway: GatewayControl,
        registry: AgentRegistry,
        memory: MemoryManager,
        resumer: Resumer,
        suspender: Suspender,
        takeover: Takeover,
        wake_timeout_s: float,
    ) -> None:
        self._runtime = runtime
        self._gateway = gateway
        self._registry = registry
        self._memory = memory
        self._resumer = resumer
        self._suspender = suspender
        self._takeover = takeover
        self._wake_timeout_s = wake_timeout_s

    async def correct(self, agent: Agent) -> Observed | None:
        """With the lock held: inspect the container, and correct the record by it.

        Returns the container; `None` if there is none.
        """
        return (await self._correct(agent))[0]

    async def _correct(
        self, agent: Agent, *, checks: bool = False
    ) -> tuple[Observed | None, TransitionReason | None]:
        """What the runtime shows, and why the record was corrected, if it was.

        With `checks`, an agent that was found running is recorded as waking: its gateway may still
        be booting, and the caller checks it.
        """
        observed = await self._runtime.inspect(agent.user_id)
        fix = correction(agent.state, observed)
        if fix is None:
            return observed, None
        agent.access = None
        why = TransitionReason(Actor.RUNTIME, fix.why)
        unchecked = checks and fix.to is HibernationState.RUNNING
        to = HibernationState.WAKING if unchecked else fix.to
        await self._registry.move(agent, to, why=why, failure=fix.failure)
        self._memory.found(agent)
        return observed, why

    async def settle(self, agent: Agent) -> None:
        """Reconcile one agent with the runtime, after any transition in flight.

        Also stops a disabled agent, and undoes an interrupted hibernation.
        """
        async with agent.lock:
            if agent.removed:
                return
            try:
                observed, why = await self._correct(agent, checks=not agent.disabled)
            except (RuntimeUnavailable, RuntimeFailed):
                agent.access = None  # something happened and we could not see what
                raise
            if agent.disabled:
                if agent.state in AWAKE_OR_PAUSED:
                    await self.stop_disabled(agent)
            elif agent.state is HibernationState.WAKING and why is not None:
                await self._check(agent, observed, why)
            elif half_asleep(agent.state, agent.suspension_id):
                agent.access = None
                await self.open(agent, observed)
                await self._registry.save(agent)

    async def _check(self, agent: Agent, observed: Observed | None, why: TransitionReason) -> None:
        """Record an agent that was found running as such, once its gateway answers."""
        try:
            await self.open(agent, observed)
        finally:
            # Also without an answer: its container runs, and the next request checks the gateway.
            await self._registry.move(agent, HibernationState.RUNNING, why=why)

    async def stop_disabled(self, agent: Agent) -> None:
        """With the lock held and the record corrected: stop a disabled agent."""
        self._memory.ended(agent)
        await self._suspender.force_stop(agent, why=reasons.DISABLED)

    async def open(self, agent: Agent, observed: Observed | None) -> GatewayAccess:
        """With the lock held: wait for the gateway of a running container, and return its access.

        Gives back the lease of an interrupted hibernation. Raises `RuntimeFailed` if the gateway
        exits or does not answer in time.
        """
        try:
            async with asyncio.timeout(self._wake_timeout_s):
                await self._takeover.finish(agent)  # else its gateway may still be held
                agent.access = await self._resumer.bring_up(agent, observed)
        except TimeoutError as error:
            raise RuntimeFailed(
                f"The gateway did not answer within {self._wake_timeout_s:g} s. Restart the agent; "
                "a slow machine needs a higher WAKE_TIMEOUT_MS."
            ) from error
        except GatewayExited as error:
            raise RuntimeFailed(f"The gateway has ended. {error}") from error
        return agent.access

    async def read_jobs(self, agent: Agent) -> None:
        """Read an awake agent's next job from its gateway; on an error, keep the recorded one."""
        access = agent.access
        if access is None:
            return
        with suppress(GatewayUnreachable, GatewayRefused):
            next_job_at = await self._gateway.next_job_at(
                access, heartbeats=agent.policy.heartbeat_minutes is not None
            )
            if agent.access is access and next_job_at != agent.next_job_at:
                agent.next_job_at = next_job_at
                agent.unsaved = True
