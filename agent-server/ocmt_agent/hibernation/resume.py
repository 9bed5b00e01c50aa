"""Brings a gateway up to its first answer, from any state of its container.

Called with the agent's lock held. The callers change the agent's recorded state.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import structlog

from ocmt_agent.decisions.exit_explanation import how_it_ended
from ocmt_agent.gateway.access import GatewayAccess
from ocmt_agent.gateway.admin import NO_LEASE, GatewayRefused, GatewayUnreachable, Suspended
from ocmt_agent.gateway.control import GatewayControl
from ocmt_agent.memory.manager import MemoryManager
from ocmt_agent.records.agent import Agent
from ocmt_agent.runtime.base import ContainerStatus, Observed, Runtime, RuntimeFailed

log = structlog.get_logger(__name__)

ASKED = "asked"
"""The suspension id while a lease is requested and the gateway has not answered yet."""
_POLL_S = 0.05
_LOOK_EVERY_S = 1.0  # between two inspections of a silent gateway's container
_THAWED_WITHIN_S = 2.0  # far longer than a healthy container engine takes to record a thaw
_LOG_LINES = 100  # of the log, searched for the cause of a failed start


Check = Callable[[Agent, GatewayAccess], Awaitable[bool]]


def suspension_request(agent: Agent) -> str:
    """The id of lease requests to the agent's gateway; constant, so a repeat renews the lease."""
    return f"ocmt-{agent.user_id}"


class GatewayExited(Exception):
    """The container exited while it was started or checked; `str()` says why and what to do."""


class Resumer:
    def __init__(self, runtime: Runtime, gateway: GatewayControl, memory: MemoryManager) -> None:
        self._runtime = runtime
        self._gateway = gateway
        self._memory = memory
        self._thaws: set[asyncio.Task[None]] = set()

    async def bring_up(self, agent: Agent, observed: Observed | None) -> GatewayAccess:
        """Thaw, start or check the gateway, and return once it serves.

        `observed` is the container as just inspected. Has no time limit of its own. Raises
        `GatewayExited` if the container exits, or the runtime's errors.
        """
        try:
            return await self._bring_up(agent, observed)
        except GatewayExited:
            if observed is None or observed.status is ContainerStatus.EXITED:
                raise
            # It exited while it was being called, but may well start again.
            return await self._bring_up(agent, await self._runtime.inspect(agent.user_id))

    async def _bring_up(self, agent: Agent, observed: Observed | None) -> GatewayAccess:
        boots = False
        if observed is None or observed.status is ContainerStatus.EXITED:
            boots = True
            agent.suspension_id = None  # leases live in the gateway's memory
            # Idempotent; applies a new image or limits that were set while the agent slept.
            await self._runtime.create(agent.spec())
            # The state was prepared before the wait for memory; the image may have changed since.
            if await self._runtime.openclaw_version() != agent.openclaw:
                raise RuntimeFailed(
                    "OpenClaw was replaced on this host while the agent waited to start. Try again."
                )
            access = agent.access_at(await self._runtime.start(agent.user_id))
        elif observed.endpoint is None:
            raise RuntimeFailed(
                "The container has no address. Restart the agent; if that does not help, "
                "check the engine's network."
            )
        else:
            access = agent.access_at(observed.endpoint)
            if observed.status is ContainerStatus.PAUSED:
                had_lease = agent.suspension_id is not None
                await self._thaw(agent, access)
                if not had_lease:  # a held gateway, or one that was frozen while it booted
                    await self._until(agent, self._is_started, access)
                return access
            if agent.suspension_id is not None:
                # An interrupted freeze may have left some processes frozen.
                await self._runtime.unpause(agent.user_id)
        await self._until(agent, self._is_live, access)
        if not boots:
            await self._until(agent, self._is_open, access)
        await self._until(agent, self._is_started, access)
        self._memory.woke(agent)
        return access

    def over_control_socket(self, agent: Agent) -> GatewayAccess | None:
        """Access to a paused gateway; `None` without an open control socket and a known lease."""
        endpoint = self._gateway.control_socket_to(agent.user_id)
        if endpoint is None or agent.suspension_id in (None, ASKED, NO_LEASE):
            return None
        return agent.access_at(endpoint)

    async def _thaw(self, agent: Agent, access: GatewayAccess) -> None:
        if not await self.thaw(agent, access):
            await self._until(agent, self._is_back, access)
            self._memory.woke(agent)

    async def thaw(self, agent: Agent, access: GatewayAccess) -> bool:
        """Thaw a paused gateway and give its lease back. Returns whether it answered.

        One answered call is enough, since it served before the freeze. The call is sent before the
        thaw: the kernel queues it, and the gateway reads it as soon as it runs. The container
        engine may then still be recording the thaw; that need not be awaited, since the engine
        handles later calls on this container after it.
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
        if error is not None:  # the gateway answers; the next sweep reads what the engine shows
            log.warning(
                "the container engine did not confirm a thaw", user_id=user_id, reason=str(error)
            )

    async def close(self) -> None:
        """Wait up to 2 s for thaws that the container engine is still recording."""
        if self._thaws:
            _, pending = await asyncio.wait(self._thaws, timeout=_THAWED_WITHIN_S)
            for thaw in pending:
                thaw.cancel()
            await asyncio.gather(*pending, return_exceptions=True)

    async def release(self, agent: Agent, access: GatewayAccess) -> None:
        """Give back the gateway's lease, if it has one.

        If the answer to a lease request was lost, a lease may exist: the request is repeated, which
        renews that lease and returns its id.
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
        """Whether a thawed gateway answers and its lease is given back."""
        if agent.suspension_id in (None, NO_LEASE):
            agent.suspension_id = None
            return await self._gateway.is_live(access)
        return await self._taken(self.release(agent, access))

    async def _is_open(self, agent: Agent, access: GatewayAccess) -> bool:
        """Whether the gateway accepts work: its lease is given back and admin calls succeed."""
        return await self._taken(self.release(agent, access)) and await self._taken(
            self._gateway.health(access)
        )

    async def _is_started(self, _: Agent, access: GatewayAccess) -> bool:
        """Whether the gateway accepts its user's calls (admin calls succeed a second later)."""
        return await self._gateway.is_started(access)

    async def _taken(self, call: Awaitable[None]) -> bool:
        """Whether the gateway accepted a call; `False` if the call may be retried.

        Raises `RuntimeFailed` if it rejected the call.
        """
        try:
            await call
        except GatewayUnreachable:
            return False
        except GatewayRefused as refusal:
            if refusal.passing:
                return False
            raise RuntimeFailed(
                f"The gateway refused the agent server's call ({refusal.code}). Restart the agent; "
                "if that does not help, this release does not support its OpenClaw version."
            ) from refusal
        return True

    async def _until(self, agent: Agent, check: Check, access: GatewayAccess) -> None:
        # Limited by time, not by the number of polls: one to a missing address can take seconds.
        loop = asyncio.get_running_loop()
        looked_s = loop.time()
        while not await check(agent, access):
            if loop.time() - looked_s >= _LOOK_EVERY_S:
                await self._still_there(agent)
                looked_s = loop.time()
            await asyncio.sleep(_POLL_S)

    async def _still_there(self, agent: Agent) -> None:
        observed = await self._runtime.inspect(agent.user_id)
        if observed is not None and observed.status is not ContainerStatus.EXITED:
            return
        printed = ""
        if observed is not None:
            printed = await self._runtime.logs(agent.user_id, lines=_LOG_LINES, this_start=True)
        raise GatewayExited(how_it_ended(observed, printed=printed))
