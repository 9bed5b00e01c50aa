"""Keeps agents ready for new users: makes, retires and hands them out.

A spare is an agent of its own: with a number, a uid, credentials and a home, but without a user.
It boots on an empty state, answers one message of the relay's stand-in model, and sleeps in swap. A
user who is provisioned claims it, once; from then on it is that user's agent like any other.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog
from ocmt_common.agent_api import HibernationState
from ocmt_common.problems import Problem

from ocmt_agent.clock import Clock
from ocmt_agent.decisions import transition_reasons as reasons
from ocmt_agent.decisions.spare_count import Wanted, is_quiet, wanted
from ocmt_agent.hibernation.assembly import Hibernation
from ocmt_agent.hibernation.wake_admission import HostReader
from ocmt_agent.memory.manager import MemoryManager
from ocmt_agent.records.agent import Agent
from ocmt_agent.records.registry import AgentRegistry
from ocmt_agent.runtime.base import Runtime, RuntimeFailed, RuntimeUnavailable
from ocmt_agent.runtime.homes import new_home
from ocmt_agent.spares.warm_up import NotWarm, WarmUp

log = structlog.get_logger(__name__)

_LOOK_EVERY_S = 15.0
_WATCH_EVERY_S = 0.2
_HOUR_S = 3600.0
_RESTS_WITHIN = 20
"""Attempts to put a new agent to sleep: it has work of its own after its boot."""
_LONGEST_WAIT_S = 30.0
_RETRY_AFTER_S = 300.0
"""After one could not be made."""


class SpareKeeper:
    def __init__(
        self,
        runtime: Runtime,
        registry: AgentRegistry,
        hibernation: Hibernation,
        memory: MemoryManager,
        warm_up: WarmUp,
        *,
        most: int,
        read_host: HostReader,
        read_load: Callable[[], float],
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`most`: SPARE_AGENTS. `read_load`: runnable tasks, on average of the last minute."""
        self._runtime = runtime
        self._registry = registry
        self._hibernation = hibernation
        self._memory = memory
        self._warm_up = warm_up
        self._most = most
        self._read_host = read_host
        self._read_load = read_load
        self._clock = clock
        self._sleep = sleep
        self._arrivals: deque[float] = deque(maxlen=100)
        self._not_before_s = 0.0
        self._making: Agent | None = None
        registry.metrics.follow_spares(lambda: len(self.ready()))

    # For provisioning

    def take(self, user_id: str, *, agent_token: str) -> Agent | None:
        """Claim a spare for a new user, without an await; `None` if there is none.

        The caller stores the claim (`AgentRegistry.keep_claim`) with the agent's lock held.
        """
        self._arrivals.append(self._clock.monotonic())
        ready = self.ready()
        if not ready:
            self._registry.metrics.provisioned("none")
            return None
        # The one that fell asleep first: its memory has been written to swap.
        spare = min(ready, key=lambda agent: agent.state_since)
        self._registry.claim(spare, user_id, agent_token=agent_token)
        return spare

    async def is_current(self, agent: Agent) -> bool:
        """Whether an agent has the image and the configuration that a new one would get."""
        try:
            if agent.openclaw != await self._runtime.openclaw_version():
                return False
            return await self._runtime.is_current(agent.spec())
        except (RuntimeFailed, RuntimeUnavailable):
            return False

    def ready(self) -> list[Agent]:
        return [agent for agent in self._registry.spares() if self._is_ready(agent)]

    def wanted(self) -> Wanted:
        since_s = self._clock.monotonic() - _HOUR_S
        return wanted(
            most=self._most,
            arrivals=sum(at_s >= since_s for at_s in self._arrivals),
            ready=len(self.ready()),
            host=self._read_host(),
        )

    # The loop

    async def run(self) -> None:
        """Keep as many ready as are wanted, until cancelled."""
        while True:
            try:
                await self.look()
            except Exception:
                log.exception("keeping agents ready failed")
            await asyncio.sleep(_LOOK_EVERY_S)

    async def look(self) -> None:
        """Retire what cannot be claimed or is too many, then make one if one is missing."""
        for spare in self._registry.spares():
            with suppress(RuntimeFailed, RuntimeUnavailable, Problem):
                await self._hibernation.reconciler.settle(spare)
            if spare.spare and not await self._is_worth_keeping(spare):
                await self._retire(spare)
        wish = self.wanted().count
        for spare in self.ready()[wish:]:
            await self._retire(spare)
        if len(self.ready()) < wish and self._may_make():
            await self._make()

    async def _is_worth_keeping(self, spare: Agent) -> bool:
        due = spare.next_job_at
        # A nightly job that came due while it slept would run at the claim.
        overdue = due is not None and due <= self._clock.now()
        asleep = spare.state is HibernationState.PAUSED
        return asleep and not overdue and await self.is_current(spare)

    def _is_ready(self, spare: Agent) -> bool:
        free = not spare.lock.locked() and spare.waking is None and not spare.removed
        return spare.state is HibernationState.PAUSED and free and spare is not self._making

    def _may_make(self) -> bool:
        if self._clock.monotonic() < self._not_before_s:
            return False
        return is_quiet(
            self._read_host(),
            load=self._read_load(),
            cores=self._hibernation.cores,
            waking=not self._hibernation.admission.is_quiet,
        )

    async def _make(self) -> None:
        """Make an agent; remove it if that fails or another agent's wake needs the host first."""
        spare = self._making = Agent.beforehand(new_home(), now=self._clock.now())
        self._registry.reserve(spare)
        boot = asyncio.create_task(self._boot(spare))
        made = False
        try:
            while not boot.done():
                await asyncio.wait({boot}, timeout=_WATCH_EVERY_S)
                if not self._hibernation.admission.is_quiet:
                    break
            if boot.done():
                await boot
                made = True
        except (Problem, RuntimeFailed, RuntimeUnavailable, NotWarm) as error:
            self._not_before_s = self._clock.monotonic() + _RETRY_AFTER_S
            log.warning("no agent made beforehand", reason=str(error))
        finally:
            boot.cancel()
            await asyncio.gather(boot, return_exceptions=True)
            self._making = None
        # Not when this server ends: the next one finds the spare, and removes it.
        if not made:
            await self._retire(spare)

    async def _boot(self, spare: Agent) -> None:
        """Boot it, let it answer, and put it to sleep."""
        async with spare.lock:
            await self._registry.insert(spare)
            access = await self._hibernation.wakes.bring_up(spare, why=reasons.BEFOREHAND)
        await self._warm_up(access)
        for _ in range(_RESTS_WITHIN):
            mark = spare.activities
            slept = await self._hibernation.sleeps.sleep(
                spare, "pause", why=reasons.BEFOREHAND, mark=mark, ordered=True
            )
            if slept:
                return
            wait_s = spare.ask_again_at - self._clock.monotonic()
            if wait_s > _LONGEST_WAIT_S:
                break
            await self._sleep(max(0.0, wait_s))
        raise NotWarm(f"it does not sleep: {'; '.join(spare.blockers)}")

    async def _retire(self, spare: Agent) -> None:
        """Remove a spare with all that it has, unless it was claimed meanwhile."""

        async def retire() -> None:
            if not spare.spare or spare.removed:
                return
            spare.access = None
            await self._runtime.remove(spare.user_id, with_state=True)
            self._memory.ended(spare)
            await self._registry.forget(spare, with_state=True)

        try:
            await self._hibernation.transitions.run_locked(spare, retire)
        except (Problem, RuntimeFailed, RuntimeUnavailable) as error:  # tried again by `look`
            log.warning("spare not removed", home=spare.user_id, reason=str(error))
