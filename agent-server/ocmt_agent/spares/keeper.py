"""Keeps spares ready for new users and for stopped agents: makes and retires them.

A spare is an agent of its own: with a number, a uid, credentials and a home, but without a user.
It boots on an empty state, answers one message of the relay's stand-in model, and sleeps in swap. A
user who is provisioned claims it, once; from then on it is that user's agent like any other. One
for a stopped agent sleeps without a state, at the point where its gateway would read one.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog
from ocmt_common.agent_api import HibernationState
from ocmt_common.problems import Problem

from ocmt_agent.clock import Clock
from ocmt_agent.decisions import transition_reasons as reasons
from ocmt_agent.decisions.spare_count import Wanted, is_quiet, wanted, wanted_for_stopped
from ocmt_agent.hibernation.assembly import Hibernation
from ocmt_agent.hibernation.spare_pool import SparePool
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
_RESTS_WITHIN = 20
"""Attempts to put a new agent to sleep: it has work of its own after its boot."""
_LONGEST_WAIT_S = 30.0
_RETRY_AFTER_S = 300.0
"""After one could not be made; twice as long after each that follows, up to a day."""
_MOST_DOUBLINGS = 8
_HOLD_TRIES = 2


class SpareKeeper:
    def __init__(
        self,
        runtime: Runtime,
        registry: AgentRegistry,
        hibernation: Hibernation,
        memory: MemoryManager,
        warm_up: WarmUp,
        *,
        pool: SparePool,
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
        self._pool = pool
        self._warm_up = warm_up
        self._most = most
        self._read_host = read_host
        self._read_load = read_load
        self._clock = clock
        self._sleep = sleep
        self._failures: Counter[bool] = Counter()
        """Whether held → spares of that kind that could not be made, since the last one."""
        self._not_before_s: dict[bool, float] = {}
        self._can_hold = False

    def ready(self, *, held: bool = False) -> list[Agent]:
        return self._pool.ready(held=held)

    def wanted(self, *, held: bool = False) -> Wanted:
        """How many to keep for new users, or with `held` for stopped agents."""
        host, ready = self._read_host(), len(self.ready(held=held))
        if held:
            return wanted_for_stopped(
                most=self._most,
                can_hold=self._can_hold,
                stopped=self._pool.stopped(),
                demand=self._pool.demand(),
                ready=ready,
                host=host,
            )
        arrivals = self._pool.arrivals.count()
        return wanted(most=self._most, arrivals=arrivals, ready=ready, host=host)

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
        with suppress(RuntimeFailed, RuntimeUnavailable):
            self._can_hold = await self._runtime.can_hold()
        for agent in self._registry.all():
            if agent.old_home is not None:
                await self._finish_move(agent)
        for spare in self._registry.spares():
            with suppress(RuntimeFailed, RuntimeUnavailable, Problem):
                await self._hibernation.reconciler.settle(spare)
            if self._registry.is_spare(spare) and not await self._is_worth_keeping(spare):
                await self._retire(spare)
        # Those for stopped agents go first when swap is short, and are made last.
        for held in (True, False):
            for spare in self.ready(held=held)[self.wanted(held=held).count :]:
                await self._retire(spare)
        for held in (False, True):
            if len(self.ready(held=held)) < self.wanted(held=held).count and self._may_make(held):
                await self._make(held=held)

    async def _finish_move(self, agent: Agent) -> None:
        hibernation = self._hibernation
        await hibernation.transitions.run_locked(agent, lambda: hibernation.takeover.tidy(agent))

    async def _is_worth_keeping(self, spare: Agent) -> bool:
        due = spare.next_job_at
        # A nightly job that came due while it slept would run at the claim.
        overdue = due is not None and due <= self._clock.now()
        asleep = spare.state is HibernationState.PAUSED
        return asleep and not overdue and await self._pool.is_current(spare)

    def _may_make(self, held: bool) -> bool:
        if self._clock.monotonic() < self._not_before_s.get(held, 0.0):
            return False
        return is_quiet(
            self._read_host(),
            load=self._read_load(),
            cores=self._hibernation.cores,
            waking=not self._hibernation.admission.is_quiet,
        )

    async def _make(self, *, held: bool) -> None:
        """Make a spare; remove it if that fails or another agent's wake needs the host first."""
        spare = Agent.beforehand(new_home(), held=held, now=self._clock.now())
        self._pool.making = spare
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
            after_s = _RETRY_AFTER_S * 2 ** min(self._failures[held], _MOST_DOUBLINGS)
            self._failures[held] += 1
            self._not_before_s[held] = self._clock.monotonic() + after_s
            log.warning("no spare made", held=held, reason=str(error))
        finally:
            boot.cancel()
            await asyncio.gather(boot, return_exceptions=True)
            self._pool.making = None
        if made:
            self._failures[held] = 0
        else:  # not when this server ends: the next one finds the spare, and removes it
            await self._retire(spare)

    async def _boot(self, spare: Agent) -> None:
        """Boot it, let it answer, and put it to sleep."""
        async with spare.lock:
            await self._registry.insert(spare)
            access = await self._hibernation.wakes.bring_up(spare, why=reasons.BEFOREHAND)
        await self._warm_up(access)
        if spare.held:
            await self._hibernation.transitions.run_locked(spare, lambda: self._hold(spare))
            return
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

    async def _hold(self, spare: Agent) -> None:
        """Let its gateway go back to where it reads a state, and freeze it there."""
        spare.access = None
        for tries_left in reversed(range(_HOLD_TRIES)):
            try:
                await self._runtime.hold_gateway(spare.user_id)
                break
            except RuntimeFailed:
                if not tries_left:
                    raise
            # It had something of its state open: a restart without a message closes that.
            await self._runtime.create(spare.spec())  # ends the hold
            observed = await self._runtime.inspect(spare.user_id)
            await self._hibernation.reconciler.open(spare, observed)
            spare.access = None
        spare.next_job_at = None  # that was in the state, which is gone
        await self._registry.move(spare, HibernationState.PAUSED, why=reasons.BEFOREHAND)
        self._memory.slept(spare)

    async def _retire(self, spare: Agent) -> None:
        """Remove a spare with all that it has, unless it was claimed or taken meanwhile."""

        async def retire() -> None:
            # From here on nothing takes it: its lock is held.
            if not self._registry.is_spare(spare):
                return
            spare.access = None
            await self._runtime.remove(spare.user_id, with_state=True)
            self._memory.ended(spare)
            await self._registry.forget(spare, with_state=True)

        try:
            await self._hibernation.transitions.run_locked(spare, retire)
        except (Problem, RuntimeFailed, RuntimeUnavailable) as error:  # tried again by `look`
            log.warning("spare not removed", home=spare.user_id, reason=str(error))
