"""Bringing one gateway to the point where it answers, from wherever its container is.

Called with the agent's lock held. Nothing here changes the agent's recorded state; the engine does.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import structlog

from ocmt_agent.decisions.exit_explanation import how_it_ended
from ocmt_agent.gateway.access import GatewayAccess
from ocmt_agent.gateway.admin import NO_LEASE, GatewayRefused, GatewayUnreachable, Suspended
from ocmt_agent.gateway.control import GatewayControl
from ocmt_agent.memory.manager import MemoryKeeper
from ocmt_agent.records.agent import Agent
from ocmt_agent.runtime.base import ContainerStatus, Observed, Runtime, RuntimeFailed

log = structlog.get_logger(__name__)

ASKED = "asked"
"""The suspension id of an agent whose gateway was asked for one and has not answered yet."""
_POLL_S = 0.05
_LOOK_EVERY = 20  # polls: how often a silent gateway's container is looked at
_THAWED_WITHIN_S = 2.0  # in which an engine that is well has long noted a thaw
_LOG_LINES = 100  # in which the cause of a failed start is looked for


Check = Callable[[Agent, GatewayAccess], Awaitable[bool]]


def suspension_request(agent: Agent) -> str:
    """The id under which its gateway is asked for a lease; always the same, to find it again."""
    return f"ocmt-{agent.user_id}"


class GatewayExited(Exception):
    """The container ended instead of coming up; `str()` says why, and what to do."""


class Waker:
    def __init__(self, runtime: Runtime, gateway: GatewayControl, memory: MemoryKeeper) -> None:
        self._runtime = runtime
        self._gateway = gateway
        self._memory = memory
        self._thaws: set[asyncio.Task[None]] = set()

    async def bring_up(self, agent: Agent, observed: Observed | None) -> GatewayAccess:
        """Thaw, start or just check the gateway, and return once it serves.

        `observed` is what the runtime showed a moment ago. Runs until it succeeds, the container
        dies or the runtime fails; the caller bounds the time.
        """
        boots = False
        if observed is None or observed.status is ContainerStatus.EXITED:
            boots = True
            agent.suspension_id = None  # leases live in the gateway's memory
            # Idempotent, and picks up an image or limits that changed while it slept.
            await self._runtime.create(agent.spec())
            access = agent.access_at(await self._runtime.start(agent.user_id))
        elif observed.endpoint is None:
            raise RuntimeFailed(
                "The container has no address. Restart the agent; if that does not help, "
                "look at the engine's network."
            )
        else:
            access = agent.access_at(observed.endpoint)
            if observed.status is ContainerStatus.PAUSED:
                await self._thaw(agent, access)
                return access
            if agent.suspension_id is not None:
                # A freeze that broke off may have left it half frozen, though it counts as running.
                await self._runtime.unpause(agent.user_id)
        await self._until(agent, self._is_live, access)
        if not boots:
            await self._until(agent, self._is_open, access)
        await self._until(agent, self._is_started, access)
        self._memory.woke(agent)
        return access

    def line_to(self, agent: Agent) -> GatewayAccess | None:
        """Access to a sleeping gateway to which a socket was kept and whose lease is known."""
        endpoint = self._gateway.line_to(agent.user_id)
        if endpoint is None or agent.suspension_id in (None, ASKED, NO_LEASE):
            return None
        return agent.access_at(endpoint)

    async def _thaw(self, agent: Agent, access: GatewayAccess) -> None:
        if not await self.thaw(agent, access):
            await self._until(agent, self._is_back, access)
            self._memory.woke(agent)

    async def thaw(self, agent: Agent, access: GatewayAccess) -> bool:
        """Thaw a paused gateway and open it again; return as soon as it answered, or did not.

        It served before it was frozen, so its answer to one call is enough. That call is sent
        first: the kernel keeps it for the frozen gateway, which reads it the moment it can run. The
        engine may then still be at its bookkeeping of the thaw, which nobody has to wait for: it
        does whatever it is asked next about this container after that.
        """
        self._memory.wakes(agent)
        back = asyncio.create_task(self._is_back(agent, access))
        thaw = asyncio.create_task(self._runtime.unpause(agent.user_id))
        try:
            await asyncio.wait({back, thaw}, return_when=asyncio.FIRST_COMPLETED)
            if not (back.done() and back.result()):
                await thaw
                if not await back:
                    return False
        except BaseException:
            back.cancel()
            thaw.cancel()
            await asyncio.gather(back, thaw, return_exceptions=True)
            raise
        self._thaws.add(thaw)
        thaw.add_done_callback(partial(self._thawed, agent.user_id))
        self._memory.woke(agent)
        return True

    def _thawed(self, user_id: str, thaw: "asyncio.Task[None]") -> None:
        self._thaws.discard(thaw)
        error = None if thaw.cancelled() else thaw.exception()
        if error is not None:  # it answers all the same; the next look reads what the engine shows
            log.warning("the engine did not report a thaw", user_id=user_id, reason=str(error))

    async def close(self) -> None:
        """Let the engine finish its bookkeeping, unless it does not come to an end."""
        if self._thaws:
            _, pending = await asyncio.wait(self._thaws, timeout=_THAWED_WITHIN_S)
            for thaw in pending:
                thaw.cancel()
            await asyncio.gather(*pending, return_exceptions=True)

    async def release(self, agent: Agent, access: GatewayAccess) -> None:
        """Give back the lease under which the gateway was to be frozen, if it has one.

        One that may have been granted without our learning of it is asked for again: the same
        request renews the same lease.
        """
        if agent.suspension_id == ASKED:
            answer = await self._gateway.suspend(access, request_id=suspension_request(agent))
            agent.suspension_id = answer.suspension_id if isinstance(answer, Suspended) else None
        if agent.suspension_id is not None:
            await self._gateway.resume(access, agent.suspension_id)
            agent.suspension_id = None

    async def _is_live(self, _: Agent, access: GatewayAccess) -> bool:
        return await self._gateway.is_live(access)

    async def _is_back(self, agent: Agent, access: GatewayAccess) -> bool:
        """Whether a thawed gateway answers, and has its lease back if it gave one."""
        if agent.suspension_id in (None, NO_LEASE):
            agent.suspension_id = None
            return await self._gateway.is_live(access)
        return await self._taken(self.release(agent, access))

    async def _is_open(self, agent: Agent, access: GatewayAccess) -> bool:
        """Whether the gateway takes work: its lease given back, our calls answered."""
        return await self._taken(self.release(agent, access)) and await self._taken(
            self._gateway.health(access)
        )

    async def _is_started(self, _: Agent, access: GatewayAccess) -> bool:
        """Whether it takes all calls. Ours it answers a second later: no user waits for that."""
        return await self._gateway.is_started(access)

    async def _taken(self, call: Awaitable[None]) -> bool:
        """Whether the gateway took a call; `False` when it may do so a moment later."""
        try:
            await call
        except GatewayUnreachable:
            return False
        except GatewayRefused as refusal:
            if refusal.passing:
                return False
            raise RuntimeFailed(
                f"The gateway refuses our call ({refusal.code}). Restart the agent; if that does "
                "not help, its OpenClaw does not fit this release."
            ) from refusal
        return True

    async def _until(self, agent: Agent, check: Check, access: GatewayAccess) -> None:
        looks = 0
        while not await check(agent, access):
            looks += 1
            if looks % _LOOK_EVERY == 0:
                await self._still_there(agent)
            await asyncio.sleep(_POLL_S)

    async def _still_there(self, agent: Agent) -> None:
        observed = await self._runtime.inspect(agent.user_id)
        if observed is not None and observed.status is not ContainerStatus.EXITED:
            return
        printed = ""
        if observed is not None:
            printed = await self._runtime.logs(agent.user_id, lines=_LOG_LINES, this_start=True)
        raise GatewayExited(how_it_ended(observed, printed=printed))
