"""An agent server on the real engine, whose containers run a stand-in in the place of OpenClaw."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from ocmt_agent.api.dependencies import Parts
from ocmt_agent.clock import SystemClock
from ocmt_agent.decisions.memory_admission import HostFigures
from ocmt_agent.gateway.access import GatewayAccess
from ocmt_agent.runtime.docker import DockerRuntime
from ocmt_agent.wiring import open_parts

from ocmt_testing.agent_server.container_stand_in import StandInControl
from ocmt_testing.agent_server.host import settings_for

_GIB = 1024**3
_ROOMY = HostFigures(64 * _GIB, 60 * _GIB, 64 * _GIB, 64 * _GIB, None, swap_disk=64 * _GIB)
_ATTEMPTS = 10


async def _no_message(access: GatewayAccess) -> None: ...


@asynccontextmanager
async def server_on(root: Path, runtime: DockerRuntime) -> AsyncIterator[Parts]:
    async with (
        aiohttp.ClientSession() as session,
        open_parts(
            settings_for(root.parent, WAKE_TIMEOUT_MS="120000"),
            runtime=runtime,
            clock=SystemClock(),
            gateway=StandInControl(session),
            warm_up=_no_message,
            read_host=lambda: _ROOMY,
            read_load=lambda: 0.0,
        ) as parts,
    ):
        yield parts


async def made_beforehand(parts: Parts, *, held: bool = False) -> str:
    """Let the server make a spare. Returns its home.

    On a loaded machine the kernel may fail to freeze a container, and the server tries again later.
    """
    for _ in range(_ATTEMPTS):
        parts.spares._not_before_s.clear()
        await parts.spares.look()
        if ready := parts.spares.ready(held=held):
            return ready[0].user_id
    raise AssertionError("no spare was made")
