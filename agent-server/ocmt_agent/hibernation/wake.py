"""Wakes agents. Each agent has at most one wake in flight, which all its requests share.

A wake over an open control socket does not inspect the container. Without the socket, or an answer
over it, the container is inspected and brought up from any state.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import NoReturn

import structlog
from ocmt_common.agent_api import HibernationState
from ocmt_common.problems import Problem

from ocmt_agent.clock import Clock
from ocmt_agent.decisions import transition_reasons as reasons
from ocmt_agent.decisions.activity import ActivityKind
from ocmt_agent.decisions.transition_reasons import TransitionReason
from ocmt_agent.gateway.access import GatewayAccess
from ocmt_agent.hibernation.problems import (
    refuse_disabled,
    refuse_full,
    runtime_gone,
    runtime_problems,
)
from ocmt_agent.hibernation.reconcile import Reconciler
from ocmt_agent.hibernation.resume import GatewayExited, Resumer
from ocmt_agent.hibernation.takeover import Takeover
from ocmt_agent.hibernation.transitions import TransitionRunner
from ocmt_agent.hibernation.wake_admission import WakeAdmission
from ocmt_agent.memory.manager import MemoryManager
from ocmt_agent.records.agent import Agent
from ocmt_agent.records.registry import AgentRegistry
from ocmt_agent.runtime.base import (
    ContainerStatus,
    Observed,
    Runtime,
    RuntimeFailed,
    RuntimeUnavailable,
)
from ocmt_agent.upgrades.manager import StateCopyManager

log = structlog.get_logger(__name__)

_STARTS = (HibernationState.STOPPED, HibernationState.FAILED)
TOOLS_READ_WITHIN_S = 2.0
"""Time for a running OpenClaw to reload its configuration, which takes 0.5 s on two idle cores."""


@dataclass(frozen=True, slots=True)
class _Attempt:
    """A wake in flight: its reason and its start in monotonic seconds."""

    why: TransitionReason
    started_s: float


class WakeTransitions:
    """Implements `proxy.awake_agents.AwakeAgents`."""

    def __init__(
        self,
        *,
        runtime: Runtime,
        registry: AgentRegistry,
        memory: MemoryManager,
        states: StateCopyManager,
        transitions: TransitionRunner,
        admission: WakeAdmission,
        resumer: Resumer,
        reconciler: Reconciler,
        takeover: Takeover,
        clock: Clock,
        wake_timeout_s: float,
    ) -> None:
        self._runtime = runtime
        self._registry = registry
        self._memory = memory
        self._states = states
        self._transitions = transitions
        self._admission = admission
        self._resumer = resumer
        self._reconciler = reconciler
        self._takeover = takeover
        self._clock = clock
        self._wake_timeout_s = wake_timeout_s

    async def awake(self, user_id: str, *, kind: ActivityKind) -> GatewayAccess:
        agent = self._registry.get(user_id)
        refuse_disabled(agent)
        self._registry.touch(agent, kind)
        access = await self.wake(agent, why=reasons.request(kind))
        wait_s = agent.tools_read_at_s - self._clock.monotonic()
        if wait_s > 0:
            await asyncio.sleep(min(wait_s, TOOLS_READ_WITHIN_S))
        return access

    def tools_changed(self, agent: Agent) -> None:
        """Hold requests to the agent until its gateway has read the new tools version.

        Before that, a message would not have the new tools, and a run that starts during the
        reload of the configuration can fail.
        """
        agent.tools_read_at_s = self._clock.monotonic() + TOOLS_READ_WITHIN_S
        agent.tools_unread = agent.state in (HibernationState.PAUSED, HibernationState.WAKING)

    @asynccontextmanager
    async def using(self, user_id: str, *, kind: ActivityKind) -> AsyncIterator[GatewayAccess]:
        agent = self._registry.get(user_id)
        refuse_disabled(agent)
        agent.in_flight += 1
        try:
            yield await self.awake(user_id, kind=kind)
            self._memory.answered(agent)
        finally:
            agent.in_flight -= 1
            self._registry.touch(agent, kind)  # idle counts from the end of a long answer

    def run_ended(self, user_id: str, *, kind: ActivityKind) -> None:
        agent = self._registry.find(user_id)
        if agent is not None:
            self._memory.answered(agent)
            self._registry.touch(agent, kind)  # idle counts from the end of a long answer

    @asynccontextmanager
    async def using_if_awake(self, user_id: str) -> AsyncIterator[GatewayAccess]:
        """`using` without a wake, and without counting as activity.

        Raises `Problem` 409 if the agent is asleep, or on its way to sleep or awake.
        """
        agent = self._registry.get(user_id)
        refuse_disabled(agent)
        if agent.state is not HibernationState.RUNNING or agent.lock.locked():
            raise Problem(409, "agent-asleep", "Wake the agent first (POST …/wake).")
        agent.in_flight += 1
        try:
            # After a restart of this server, a running agent is first checked.
            yield await self.wake(agent, why=reasons.request(ActivityKind.HTTP))
        finally:
            agent.in_flight -= 1

    def doubt(self, access: GatewayAccess) -> None:
        agent = self._registry.find(access.user_id)
        if agent is not None and agent.access is access:
            agent.access = None

    async def wake(self, agent: Agent, *, why: TransitionReason) -> GatewayAccess:
        """Wake the agent if needed, and return its access. Does not count as the user's activity.

        Raises `Problem`.
        """
        refuse_disabled(agent)
        if agent.access is not None and not agent.lock.locked():
            return agent.access
        if agent.waking is None:
            agent.waking = self._transitions.start(self._wake(agent, why=why))
        else:
            self._admission.hurry(agent, why.who)
        access = await asyncio.shield(agent.waking)
        refuse_disabled(agent)  # it may have been disabled while it was woken
        return access

    async def _wake(self, agent: Agent, *, why: TransitionReason) -> GatewayAccess:
        try:
            async with agent.lock:
                if agent.removed:
                    raise Problem(409, "agent-removed", "This agent was removed in the meantime.")
                if agent.access is not None:  # a pause was cancelled while we waited
                    return agent.access
                return await self.bring_up(agent, why=why)
        finally:
            agent.waking = None
            self._admission.ended(agent)

    async def bring_up(self, agent: Agent, *, why: TransitionReason) -> GatewayAccess:
        """With the lock held: bring the gateway up and record the state. Raises `Problem`."""
        refuse_disabled(agent)
        refuse_full(agent)
        attempt = _Attempt(why, self._clock.monotonic())
        if agent.state is HibernationState.PAUSED:
            access = await self._resume_over_control_socket(agent, attempt)
            if access is not None:
                return access
        with runtime_problems():
            await self._takeover.finish(agent)  # of a wake that was cut short
            # Provisioning creates the container, or replaces one with other settings.
            making = agent.state is HibernationState.PROVISIONING
            observed = None if making else await self._reconciler.correct(agent)
        if observed is None or observed.status is ContainerStatus.EXITED:
            await self._prepare_state(agent)
            # The time for the copy is left out: the next wake will not need one.
            attempt = replace(attempt, started_s=self._clock.monotonic())
        if agent.state is HibernationState.RUNNING:
            return await self._bring_up(agent, observed, attempt)
        async with self._admission.admitted(agent, why.who):
            if agent.state in _STARTS:
                access = await self._with_spare(agent, observed, attempt)
                if access is not None:
                    return access
            return await self._bring_up(agent, observed, attempt)

    async def _with_spare(
        self, agent: Agent, observed: Observed | None, attempt: _Attempt
    ) -> GatewayAccess | None:
        """Let a stopped agent go on in a held spare. Returns `None` if it needs a boot."""
        metrics = self._registry.metrics
        if not await self._takeover.claim(agent, observed):
            metrics.started_stopped("none")
            return None
        before, failure = agent.state, agent.failure
        attempt = replace(attempt, why=reasons.with_spare(attempt.why))
        await self._move(agent, HibernationState.WAKING, attempt)
        try:
            async with asyncio.timeout(self._wake_timeout_s):
                await self._takeover.move_state(agent)
                observed = await self._runtime.inspect(agent.user_id)
                access = await self._resumer.bring_up(agent, observed)
        except (TimeoutError, GatewayExited, RuntimeFailed) as error:
            metrics.started_stopped("failed")
            why = reasons.spare_failed(str(error) or "its gateway did not answer in time")
            await self._abandon(agent)
            await self._registry.move(agent, before, why=why, failure=failure)
            with runtime_problems():
                await self._takeover.finish(agent)
            return None
        except RuntimeUnavailable as error:
            await self._registry.move(agent, before, why=reasons.RUNTIME_WENT_AWAY, failure=failure)
            raise runtime_gone(error) from error
        metrics.started_stopped("claimed")
        await self._is_up(agent, access, before, attempt, learns=False)
        self._transitions.start(self._takeover.leave_old_home(agent))  # no request waits for it
        return access

    async def _prepare_state(self, agent: Agent) -> None:
        """Copy the state before another OpenClaw version starts on it.

        Runs before the wake's admission and without its time limit, since it may copy gigabytes.
        """
        try:
            await self._states.prepare(agent)
        except Problem as problem:
            await self._fail(agent, problem.status, problem.code, problem.detail)
        except RuntimeFailed as error:
            await self._fail(agent, 503, "runtime-failed", str(error))
        except RuntimeUnavailable as error:
            raise runtime_gone(error) from error

    async def _resume_over_control_socket(
        self, agent: Agent, attempt: _Attempt
    ) -> GatewayAccess | None:
        """Resume over an open control socket, without inspecting the container first.

        The gateway's answer proves more than an inspection. Returns `None` without a socket or an
        answer: the caller must then reconcile the record with the runtime.
        """
        access = self._resumer.over_control_socket(agent)
        if access is None:
            return None
        async with self._admission.admitted(agent, attempt.why.who):
            before = agent.state
            answered, failed = False, reasons.NO_ANSWER
            await self._move(agent, HibernationState.WAKING, attempt)
            try:
                async with asyncio.timeout(self._wake_timeout_s):
                    answered = await self._resumer.thaw(agent, access)
            except (TimeoutError, RuntimeFailed) as error:
                log.info("no answer at the thaw", user_id=agent.user_id, reason=str(error))
            except RuntimeUnavailable:
                failed = reasons.RUNTIME_WENT_AWAY
            if answered:
                return await self._is_up(agent, access, before, attempt)
            await self._registry.move(agent, before, why=failed)
        return None

    async def _bring_up(
        self, agent: Agent, observed: Observed | None, attempt: _Attempt
    ) -> GatewayAccess:
        before = agent.state
        if before not in (HibernationState.RUNNING, HibernationState.PROVISIONING):
            await self._move(agent, HibernationState.WAKING, attempt)
        try:
            async with asyncio.timeout(self._wake_timeout_s):
                access = await self._resumer.bring_up(agent, observed)
        except TimeoutError:
            await self._abandon(agent)
            await self._fail(
                agent,
                504,
                "wake-timeout",
                f"The gateway did not answer within {self._wake_timeout_s:g} s and was stopped; "
                "the next request starts it afresh. See the agent's log; a slow machine needs a "
                "higher WAKE_TIMEOUT_MS.",
            )
        except GatewayExited as error:
            await self._fail(agent, 503, "gateway-exited", f"The gateway did not start. {error}")
        except RuntimeFailed as error:
            await self._fail(agent, 503, "runtime-failed", str(error))
        except RuntimeUnavailable as error:
            if agent.state is HibernationState.WAKING:  # as far as we know nothing changed
                await self._registry.move(agent, before, why=reasons.RUNTIME_WENT_AWAY)
            raise runtime_gone(error) from error
        return await self._is_up(agent, access, before, attempt)

    async def _is_up(
        self,
        agent: Agent,
        access: GatewayAccess,
        before: HibernationState,
        attempt: _Attempt,
        *,
        learns: bool = True,
    ) -> GatewayAccess:
        """`learns`: how early the next wake for a job begins follows from this one, too."""
        agent.access = access
        if agent.tools_unread:
            self.tools_changed(agent)
            agent.tools_unread = False
        seconds = self._clock.monotonic() - attempt.started_s
        if agent.state is not HibernationState.RUNNING:
            if learns:
                self._registry.woke(before, seconds=seconds)
            await self._move(agent, HibernationState.RUNNING, attempt, duration_ms=seconds * 1000)
        return access

    async def _move(
        self,
        agent: Agent,
        to: HibernationState,
        attempt: _Attempt,
        *,
        duration_ms: float | None = None,
    ) -> None:
        """Change the state now; the database is written while the wake goes on.

        After a crash in between, the record is reconciled with the runtime.
        """
        self._transitions.start(
            self._registry.move(agent, to, why=attempt.why, duration_ms=duration_ms)
        )
        await asyncio.sleep(0)

    async def _abandon(self, agent: Agent) -> None:
        try:
            await self._runtime.stop(agent.user_id, grace_s=5)
        except (RuntimeFailed, RuntimeUnavailable) as error:
            log.warning("could not stop a silent gateway", user_id=agent.user_id, reason=str(error))

    async def _fail(self, agent: Agent, status: int, code: str, reason: str) -> NoReturn:
        self._registry.metrics.wake_failed()
        await self._registry.move(
            agent, HibernationState.FAILED, why=reasons.failed(code), failure=reason
        )
        raise Problem(status, code, reason, retry_after_s=5)
