"""Suspends a gateway and freezes or stops its container, by force or without interrupting its work.

Called with the agent's lock held. Unless by force, the gateway of an idle agent grants or refuses a
lease, and any activity before the freeze cancels the sleep.
"""

from datetime import timedelta

import structlog
from ocmt_common.agent_api import HibernationState

from ocmt_agent.clock import Clock
from ocmt_agent.decisions.sleep_policy import Times, worth_sleeping
from ocmt_agent.decisions.transition_reasons import TransitionReason
from ocmt_agent.gateway.access import GatewayAccess
from ocmt_agent.gateway.admin import Busy, GatewayRefused, GatewayUnreachable
from ocmt_agent.gateway.control import GatewayControl
from ocmt_agent.hibernation.problems import runtime_problems
from ocmt_agent.hibernation.resume import ASKED, Resumer, suspension_request
from ocmt_agent.memory.manager import MemoryManager
from ocmt_agent.records.agent import Agent
from ocmt_agent.records.registry import AgentRegistry
from ocmt_agent.runtime.base import Runtime, RuntimeFailed

log = structlog.get_logger(__name__)

AWAKE_OR_PAUSED = (HibernationState.RUNNING, HibernationState.PAUSED)
STOP_GRACE_S = 20.0
_MIN_BETWEEN_ASKS_S = 3.0  # a gateway takes 30 prepares a minute
CAME_IN = "a request is being served"


class Suspender:
    def __init__(
        self,
        *,
        runtime: Runtime,
        gateway: GatewayControl,
        resumer: Resumer,
        registry: AgentRegistry,
        memory: MemoryManager,
        clock: Clock,
        times: Times,
    ) -> None:
        self._runtime = runtime
        self._gateway = gateway
        self._resumer = resumer
        self._registry = registry
        self._memory = memory
        self._clock = clock
        self._times = times

    async def suspended(
        self, agent: Agent, access: GatewayAccess, *, mark: int, ordered: bool
    ) -> bool:
        """Request a lease. Returns whether it was granted and no activity followed.

        Otherwise gives the lease back and stores the reasons in `agent.blockers`. With `ordered`, a
        scheduled job that is near does not prevent the sleep.
        """
        blockers, retry_after_s = await self._request_lease(
            agent, access, mark=mark, ordered=ordered
        )
        if not blockers and came_in(agent, mark):
            blockers, retry_after_s = [CAME_IN], _MIN_BETWEEN_ASKS_S
        if blockers and agent.suspension_id is not None:
            await self._reopen(agent, access)
        agent.blockers = blockers
        agent.ask_again_at = self._clock.monotonic() + max(retry_after_s, _MIN_BETWEEN_ASKS_S)
        if not blockers:
            agent.access = None  # from here on it needs a wake, whatever fails below
        # Stored before the freeze, so that the next start gives the lease back after a crash.
        await self._registry.save(agent)
        return not blockers

    async def suspended_by_force(self, agent: Agent, access: GatewayAccess | None) -> list[str]:
        """Prepare to freeze or stop an agent whatever it does. Returns the work that is cut short.

        A gateway that is not busy grants its lease, as for any sleep. A busy one is frozen without
        a lease, and goes on with its work after the thaw. `access` is `None` if the gateway does
        not answer.
        """
        cut = [f"{agent.in_flight} request(s) being served"] if agent.in_flight else []
        if access is None:
            cut.append("its gateway does not answer")
        else:
            cut += (await self._request_lease(agent, access, mark=None, ordered=True))[0]
        agent.blockers = []
        agent.access = None
        await self._registry.save(agent)
        return cut

    async def pause(
        self, agent: Agent, access: GatewayAccess | None, *, why: TransitionReason
    ) -> bool:
        """Freeze a suspended agent. On failure, sets `agent.blockers` and returns `False`."""
        started = self._clock.monotonic()
        try:
            await self._runtime.pause(agent.user_id)
        except RuntimeFailed as error:
            await self._undo(agent, access, reason=str(error))
            return False
        await self._registry.move(
            agent, HibernationState.PAUSED, why=why, duration_ms=self._since_ms(started)
        )
        self._memory.slept(agent)
        return True

    async def stop(self, agent: Agent, *, why: TransitionReason) -> None:
        """Stop a suspended or paused agent's container."""
        started = self._clock.monotonic()
        self._memory.ended(agent)
        await self._runtime.stop(agent.user_id, grace_s=STOP_GRACE_S)
        await self._registry.move(
            agent, HibernationState.STOPPED, why=why, duration_ms=self._since_ms(started)
        )

    async def force_stop(self, agent: Agent, *, why: TransitionReason) -> None:
        """Stop the container, if there is one, without the gateway's consent."""
        agent.access = None
        # A held gateway handles no signal, and has nothing to lose.
        grace_s = 0.0 if agent.held else STOP_GRACE_S
        with runtime_problems():
            if await self._runtime.inspect(agent.user_id) is not None:
                await self._runtime.stop(agent.user_id, grace_s=grace_s)
        if agent.state in AWAKE_OR_PAUSED:
            await self._registry.move(agent, HibernationState.STOPPED, why=why)

    async def _request_lease(
        self, agent: Agent, access: GatewayAccess, *, mark: int | None, ordered: bool
    ) -> tuple[list[str], float]:
        """Why there is no lease, if so, and for how many seconds none is requested.

        `mark` is `None` for an order that requests in flight do not hold up.
        """
        if mark is not None and came_in(agent, mark):
            return [CAME_IN], _MIN_BETWEEN_ASKS_S
        try:
            agent.next_job_at = await self._gateway.next_job_at(
                access, heartbeats=agent.policy.heartbeat_minutes is not None
            )
            if not ordered and not worth_sleeping(self._until_job(agent), self._times):
                return ["a scheduled job is due soon"], self._times.check_interval.total_seconds()
            # Stored before the request, so that the lease is given back even if the answer is lost.
            agent.suspension_id = ASKED
            await self._registry.save(agent)
            answer = await self._gateway.suspend(access, request_id=suspension_request(agent))
        except GatewayUnreachable:
            return ["its gateway does not answer"], 10.0  # it is busy
        except GatewayRefused as refusal:
            return [f"its gateway refused the agent server's call: {refusal.code}"], 10.0
        if isinstance(answer, Busy):
            agent.suspension_id = None
            return answer.blockers, answer.retry_after_s
        agent.suspension_id = answer.suspension_id
        return [], 0.0

    async def _undo(self, agent: Agent, access: GatewayAccess | None, *, reason: str) -> None:
        """After a freeze that failed, perhaps in part: thaw, and give the lease back."""
        log.warning("freeze failed", user_id=agent.user_id, reason=reason)
        agent.blockers = [f"it could not be frozen: {reason}"]
        agent.ask_again_at = self._clock.monotonic() + 60
        try:
            await self._runtime.unpause(agent.user_id)
        except RuntimeFailed as error:
            log.warning("thaw after a failed freeze failed", user_id=agent.user_id, reason=error)
        if access is not None:
            await self._reopen(agent, access)
        await self._registry.save(agent)

    async def _reopen(self, agent: Agent, access: GatewayAccess) -> None:
        try:
            await self._resumer.release(agent, access)
        except (GatewayUnreachable, GatewayRefused):
            agent.access = None  # the next request gives the lease back before it is forwarded

    def _until_job(self, agent: Agent) -> timedelta | None:
        return None if agent.next_job_at is None else agent.next_job_at - self._clock.now()

    def _since_ms(self, started: float) -> float:
        return (self._clock.monotonic() - started) * 1000


def came_in(agent: Agent, mark: int) -> bool:
    return agent.in_flight > 0 or agent.activities != mark
