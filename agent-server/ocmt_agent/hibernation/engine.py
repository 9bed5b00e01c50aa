"""The agents' states and every way they change: one lock and one transition in flight a user.

Whoever needs an agent calls `awake` or `using` (the `Waking` seam) and waits at most once, however
many others wait for the same wake. A transition belongs to this engine, not to the request that
asked for it: a caller who leaves does not leave an agent half awake.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Literal, NoReturn, TypeVar

import structlog
from ocmt_common.agent_api import Actor, HibernationState
from ocmt_common.problems import Problem

from ocmt_agent.agents.agent import Agent
from ocmt_agent.agents.registry import AgentRegistry
from ocmt_agent.disk.policy import Fullness
from ocmt_agent.gateway.access import GatewayAccess
from ocmt_agent.gateway.admin import GatewayRefused, GatewayUnreachable
from ocmt_agent.gateway.control import GatewayControl
from ocmt_agent.hibernation import cause
from ocmt_agent.hibernation.admission import Relief
from ocmt_agent.hibernation.cause import Cause
from ocmt_agent.hibernation.clock import Clock
from ocmt_agent.hibernation.gate import Gate, HostReader
from ocmt_agent.hibernation.policy import Times
from ocmt_agent.hibernation.reconcile import correction, half_asleep
from ocmt_agent.hibernation.sleeper import CAME_IN, STOP_GRACE_S, Sleeper, came_in
from ocmt_agent.hibernation.waker import GatewayExited, Waker
from ocmt_agent.hibernation.waking import ActivityKind
from ocmt_agent.memory.keeper import MemoryKeeper
from ocmt_agent.runtime.base import (
    ContainerStatus,
    Observed,
    Runtime,
    RuntimeFailed,
    RuntimeUnavailable,
)
from ocmt_agent.upgrades.keeper import StateKeeper

log = structlog.get_logger(__name__)

T = TypeVar("T")
Mode = Literal["pause", "stop"]
AWAKE_OR_PAUSED = (HibernationState.RUNNING, HibernationState.PAUSED)
BUSY_CORES = 0.25
"""CPU an agent may use on average while it counts as idle; more means work nobody registered."""
CPU_LOOK_S = 0.5
"""The least time over which CPU is measured."""


class Hibernation:
    """Implements `Waking`, and the operator's own pause, stop and restart."""

    def __init__(
        self,
        runtime: Runtime,
        gateway: GatewayControl,
        registry: AgentRegistry,
        memory: MemoryKeeper,
        states: StateKeeper,
        *,
        clock: Clock,
        times: Times,
        wake_timeout_s: float,
        read_host: HostReader,
        cores: int,
    ) -> None:
        self.cores = cores
        """Of the host; so many agents may boot at once."""
        self._runtime = runtime
        self._gateway = gateway
        self._registry = registry
        self._memory = memory
        self._states = states
        self._clock = clock
        self._wake_timeout_s = wake_timeout_s
        self._waker = Waker(runtime, gateway, memory)
        self._sleeper = Sleeper(
            runtime, gateway, self._waker, registry, memory, clock=clock, times=times
        )
        self._gate = Gate(
            registry,
            read_host=read_host,
            quiet=self._quiet_now,
            evict=self._give_way,
            clock=clock,
            cores=cores,
            # Less than a wake may take: who waited in vain has to hear of it in time.
            wait_s=wake_timeout_s / 2,
        )
        self._tasks: set[asyncio.Task[Any]] = set()

    # Waking

    async def awake(self, user_id: str, *, kind: ActivityKind) -> GatewayAccess:
        agent = self._registry.get(user_id)
        refuse_disabled(agent)
        self._registry.touch(agent, kind)
        return await self.wake(agent, why=cause.request(kind))

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

    def doubt(self, access: GatewayAccess) -> None:
        agent = self._registry.find(access.user_id)
        if agent is not None and agent.access is access:
            agent.access = None

    async def wake(self, agent: Agent, *, why: Cause) -> GatewayAccess:
        """The agent's access, waking it if needed; by itself this is no activity of the user."""
        refuse_disabled(agent)
        if agent.access is not None and not agent.lock.locked():
            return agent.access
        if agent.waking is None:
            agent.waking = self._own(self._wake(agent, why=why))
        else:
            self._gate.hurry(agent, why.who)
        access = await asyncio.shield(agent.waking)
        refuse_disabled(agent)  # it may have been disabled while it was woken
        return access

    async def _wake(self, agent: Agent, *, why: Cause) -> GatewayAccess:
        try:
            async with agent.lock:
                if agent.removed:
                    raise Problem(409, "agent-removed", "This agent was removed meanwhile.")
                if agent.access is not None:  # a pause was called off while we waited
                    return agent.access
                return await self.raise_up(agent, why=why)
        finally:
            agent.waking = None
            self._gate.ended(agent)

    async def raise_up(self, agent: Agent, *, why: Cause) -> GatewayAccess:
        """With the lock held: bring the gateway up, record it, or fail with a `Problem`."""
        refuse_disabled(agent)
        _refuse_full(agent)
        started = self._clock.monotonic()
        if agent.state is HibernationState.PAUSED:
            woken = await self._by_its_line(agent, why=why, started=started)
            if woken is not None:
                return woken
        with runtime_problems():
            # When provisioning, whatever may be there is made anew if it is not as it must be.
            making = agent.state is HibernationState.PROVISIONING
            observed = None if making else await self._believe(agent)
        if observed is None or observed.status is ContainerStatus.EXITED:
            await self._prepare_state(agent)
            started = self._clock.monotonic()  # copying state says nothing about the next wake
        if agent.state is HibernationState.RUNNING:
            return await self._bring_up(agent, observed, why=why, started=started)
        async with self._gate.passed(agent, why.who):
            return await self._bring_up(agent, observed, why=why, started=started)

    async def _prepare_state(self, agent: Agent) -> None:
        """Outside of the time and the turn for a wake: it may copy gigabytes."""
        try:
            await self._states.prepare(agent)
        except Problem as problem:
            await self._fail(agent, problem.status, problem.code, problem.detail)
        except RuntimeFailed as error:
            await self._fail(agent, 503, "runtime-failed", str(error))
        except RuntimeUnavailable as error:
            raise runtime_gone(error) from error

    async def _by_its_line(
        self, agent: Agent, *, why: Cause, started: float
    ) -> GatewayAccess | None:
        """Wake a sleeper over the socket that was kept to it, without looking at it before.

        Its answer shows more than the engine could. Without one nothing is believed: `None`, and
        the record is to be corrected by what the runtime shows.
        """
        access = self._waker.line_to(agent)
        if access is None:
            return None
        async with self._gate.passed(agent, why.who):
            before = agent.state
            answered, failed = False, cause.NO_ANSWER
            await self._begun(self._registry.move(agent, HibernationState.WAKING, why=why))
            try:
                async with asyncio.timeout(self._wake_timeout_s):
                    answered = await self._waker.thaw(agent, access)
            except (TimeoutError, RuntimeFailed) as error:
                log.info("not woken by its line", user_id=agent.user_id, reason=str(error))
            except RuntimeUnavailable:
                failed = cause.RUNTIME_WENT_AWAY
            if answered:
                return await self._is_up(agent, access, before, why, started)
            await self._registry.move(agent, before, why=failed)
        return None

    async def _bring_up(
        self, agent: Agent, observed: Observed | None, *, why: Cause, started: float
    ) -> GatewayAccess:
        before = agent.state
        if before not in (HibernationState.RUNNING, HibernationState.PROVISIONING):
            await self._begun(self._registry.move(agent, HibernationState.WAKING, why=why))
        try:
            async with asyncio.timeout(self._wake_timeout_s):
                access = await self._waker.bring_up(agent, observed)
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
            if agent.state is HibernationState.WAKING:  # nothing is known to have changed
                await self._registry.move(agent, before, why=cause.RUNTIME_WENT_AWAY)
            raise runtime_gone(error) from error
        return await self._is_up(agent, access, before, why, started)

    async def _is_up(
        self,
        agent: Agent,
        access: GatewayAccess,
        before: HibernationState,
        why: Cause,
        started: float,
    ) -> GatewayAccess:
        agent.access = access
        seconds = self._clock.monotonic() - started
        if agent.state is not HibernationState.RUNNING:
            self._registry.woke(before, seconds=seconds)
            await self._begun(
                self._registry.move(
                    agent, HibernationState.RUNNING, why=why, duration_ms=seconds * 1000
                )
            )
        return access

    async def _begun(self, move: Coroutine[Any, Any, None]) -> None:
        """Have a move count from here on, and be written while the wake goes on.

        What a crash leaves on record is corrected by what the runtime shows.
        """
        self._own(move)
        await asyncio.sleep(0)

    async def _abandon(self, agent: Agent) -> None:
        try:
            await self._runtime.stop(agent.user_id, grace_s=5)
        except (RuntimeFailed, RuntimeUnavailable) as error:
            log.warning("could not stop a silent gateway", user_id=agent.user_id, reason=str(error))

    async def _fail(self, agent: Agent, status: int, code: str, reason: str) -> NoReturn:
        self._registry.metrics.wake_failed()
        await self._registry.move(
            agent, HibernationState.FAILED, why=cause.failed(code), failure=reason
        )
        raise Problem(status, code, reason, retry_after_s=5)

    # Sleeping

    async def sleep(
        self,
        agent: Agent,
        mode: Mode,
        *,
        why: Cause,
        mark: int,
        ordered: bool = False,
        if_free: bool = False,
    ) -> bool:
        """Pause or stop; `False` when the gateway, or a request, keeps it awake.

        `mark` is `agent.activities` when this was decided: any later activity calls it off. A call
        that changes nothing (already so, or deeper) succeeds. `if_free`: refuse rather than wait
        for a transition under way.
        """

        async def sleep() -> bool:
            if if_free and agent.lock.locked():
                return False
            async with agent.lock:
                return await self._sleep(agent, mode, why=why, mark=mark, ordered=ordered)

        return await self.run(sleep())

    async def _sleep(
        self, agent: Agent, mode: Mode, *, why: Cause, mark: int, ordered: bool
    ) -> bool:
        with runtime_problems():
            observed = await self._believe(agent)
            if agent.state is HibernationState.RUNNING:
                access = agent.access or await self._checked(agent, observed)
                if not await self._sleeper.suspended(agent, access, mark=mark, ordered=ordered):
                    return False
                if mode == "pause":
                    return await self._sleeper.pause(agent, access, why=why)
                await self._sleeper.stop(agent, why=why)
            elif agent.state is HibernationState.PAUSED and mode == "stop":
                if came_in(agent, mark):  # it is about to be woken
                    agent.blockers = [CAME_IN]
                    return False
                await self._sleeper.stop(agent, why=why)
        return True

    async def _give_way(self, agent: Agent, relief: Relief) -> bool:
        """Put one agent to sleep for another's sake; its gateway is asked as ever."""
        mark = agent.activities
        mode: Mode = "pause" if relief is Relief.PAUSE else "stop"
        before = agent.state
        try:
            slept = await self.sleep(agent, mode, why=cause.PRESSURE, mark=mark, if_free=True)
        except (Problem, RuntimeFailed, RuntimeUnavailable) as error:
            log.warning("could not make room", user_id=agent.user_id, reason=str(error))
            return False
        return slept and agent.state is not before

    async def _quiet_now(self, agent: Agent) -> bool:
        """Whether it uses next to no CPU at this moment: the veto of work nobody registered."""
        if agent.state is not HibernationState.RUNNING:
            return True
        try:
            before = await self._runtime.cpu_seconds(agent.user_id)
            await asyncio.sleep(CPU_LOOK_S)
            after = await self._runtime.cpu_seconds(agent.user_id)
        except (RuntimeFailed, RuntimeUnavailable):
            return False
        return before is None or after is None or after - before <= BUSY_CORES * CPU_LOOK_S

    async def hibernate(self, user_id: str, mode: Mode) -> Agent:
        """The operator's order. Refused with 409 where it cannot be."""
        agent = self._registry.get(user_id)
        wrong = (HibernationState.FAILED, HibernationState.PROVISIONING)
        if agent.state in wrong or (mode == "pause" and agent.state is HibernationState.STOPPED):
            raise Problem(
                409,
                "wrong-state",
                f"An agent that is {agent.state} cannot be put to {mode}. Wake it first.",
                extra={"hibernationState": str(agent.state)},
            )
        mark = agent.activities
        if not await self.sleep(agent, mode, why=cause.ORDERED, mark=mark, ordered=True):
            raise Problem(
                409,
                "agent-busy",
                f"The agent is awake because: {'; '.join(agent.blockers)}. Try again later.",
                extra={"blockers": list(agent.blockers)},
            )
        return agent

    async def restart(self, user_id: str) -> Agent:
        """Stop and start the gateway whatever it does: an operator's cure."""
        agent = self._registry.get(user_id)
        refuse_disabled(agent)
        self._registry.touch(agent, ActivityKind.WAKE)
        await self.run(self._restart(agent))
        return agent

    async def _restart(self, agent: Agent) -> None:
        async with agent.lock:
            await self.put_down(agent, why=cause.RESTART)
            await self.raise_up(agent, why=cause.RESTART)

    async def disable(self, user_id: str) -> Agent:
        """Stop the agent whatever it does, and keep it stopped until `enable`.

        That it is disabled is stored first: if stopping it fails, or this server dies, the next
        look stops it.
        """
        agent = self._registry.get(user_id)
        await self._registry.set_disabled(agent, True)
        await self.run(self._keep_down(agent))
        return agent

    async def enable(self, user_id: str) -> Agent:
        """Let requests and jobs wake the agent again; it stays stopped until one does."""
        agent = self._registry.get(user_id)
        await self._registry.set_disabled(agent, False)
        return agent

    async def _keep_down(self, agent: Agent) -> None:
        async with agent.lock:
            if agent.disabled and not agent.removed:
                with runtime_problems():
                    await self._believe(agent)
                await self._end_disabled(agent)

    async def _end_disabled(self, agent: Agent) -> None:
        """With the lock held, and the record as the runtime shows it."""
        self._memory.ended(agent)
        await self.put_down(agent, why=cause.DISABLED)

    async def stop_for_room(self, agent: Agent) -> None:
        """Stop an agent that takes too much of the disk, whatever it does."""

        async def stop() -> None:
            async with agent.lock:
                if not agent.removed:
                    self._memory.ended(agent)
                    await self.put_down(agent, why=cause.DISK_FULL)

        await self.run(stop())

    async def put_down(self, agent: Agent, *, why: Cause) -> None:
        """With the lock held: end the container without asking, if there is one."""
        agent.access = None
        with runtime_problems():
            if await self._runtime.inspect(agent.user_id) is not None:
                await self._runtime.stop(agent.user_id, grace_s=STOP_GRACE_S)
        if agent.state in AWAKE_OR_PAUSED:
            await self._registry.move(agent, HibernationState.STOPPED, why=why)

    async def _checked(self, agent: Agent, observed: Observed | None) -> GatewayAccess:
        """Access to a container found running (after our restart), once its gateway answers."""
        try:
            async with asyncio.timeout(self._wake_timeout_s):
                agent.access = await self._waker.bring_up(agent, observed)
        except (TimeoutError, GatewayExited) as error:
            raise RuntimeFailed(f"The gateway does not answer: {error or 'timeout'}") from error
        return agent.access

    # Believing the runtime

    async def _believe(self, agent: Agent) -> Observed | None:
        """With the lock held: read the container afresh and correct the record by it."""
        observed = await self._runtime.inspect(agent.user_id)
        fix = correction(agent.state, observed)
        if fix is not None:
            agent.access = None
            await self._registry.move(
                agent, fix.to, why=Cause(Actor.RUNTIME, fix.why), failure=fix.failure
            )
        return observed

    async def settle(self, agent: Agent) -> None:
        """Correct one agent's record by what the runtime shows, after any transition in flight."""
        async with agent.lock:
            if agent.removed:
                return
            try:
                observed = await self._believe(agent)
            except (RuntimeUnavailable, RuntimeFailed):
                agent.access = None  # something happened and we could not see what
                raise
            if agent.disabled:
                if agent.state in AWAKE_OR_PAUSED:
                    await self._end_disabled(agent)
            elif half_asleep(agent):
                await self._open_again(agent, observed)

    async def _open_again(self, agent: Agent, observed: Observed | None) -> None:
        """With the lock held: undo a sleep that broke off. Thaw what may be frozen, open, check."""
        agent.access = None
        await self._checked(agent, observed)
        await self._registry.save(agent)

    async def read_jobs(self, agent: Agent) -> None:
        """Ask an awake agent's gateway for its next job; what cannot be read stays as it was."""
        access = agent.access
        if access is None:
            return
        with suppress(GatewayUnreachable, GatewayRefused):
            next_job_at = await self._gateway.next_job_at(access)
            if agent.access is access and next_job_at != agent.next_job_at:
                agent.next_job_at = next_job_at
                agent.unsaved = True

    # Tasks

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a transition to its end even if the caller leaves."""
        return await asyncio.shield(self._own(work))

    def _own(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, Problem):  # those are recorded already
            log.error("transition failed", exc_info=error)

    async def close(self) -> None:
        """Cut short what is in flight; the next start reads from the runtime how far it got."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._waker.close()


def refuse_disabled(agent: Agent) -> None:
    """Raise the `Problem` of an agent that nothing may wake."""
    if agent.disabled:
        raise Problem(
            409,
            "agent-disabled",
            "This agent is disabled and stays stopped. Enable it first "
            "(POST /api/containers/{userId}/enable).",
        )


def _refuse_full(agent: Agent) -> None:
    """Raise the `Problem` of an agent that may not run because of what it takes of the disk."""
    if agent.disk is not None and agent.disk.fullness is Fullness.STOPPED:
        raise Problem(507, "agent-disk-full", agent.disk.warning or "", retry_after_s=60)


def runtime_gone(error: RuntimeUnavailable) -> Problem:
    return Problem(503, "runtime-unavailable", str(error), retry_after_s=5)


@contextmanager
def runtime_problems() -> Iterator[None]:
    """Turn a runtime's errors into the API's."""
    try:
        yield
    except RuntimeUnavailable as error:
        raise runtime_gone(error) from error
    except RuntimeFailed as error:
        raise Problem(503, "runtime-failed", str(error), retry_after_s=5) from error
