"""A conversation with a real gateway, behind the proxy."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from ocmt_agent.gateway.access import GatewayAccess
from ocmt_agent.gateway.admin import GatewayAdmin
from ocmt_agent.gateway.control import OpenClawControl
from ocmt_agent.proxy.forwarding import open_session
from ocmt_agent.proxy.routes import proxy_routes
from ocmt_agent.runtime.base import AgentSpec, Runtime
from starlette.applications import Starlette

from ocmt_testing.agent_server.awake import AlwaysAwake
from ocmt_testing.agent_server.caller import Caller
from ocmt_testing.agent_server.mcp_tools import McpTools
from ocmt_testing.agent_server.real_gateway import boot
from ocmt_testing.agent_server.scripted_model import ScriptedModel
from ocmt_testing.agent_server.serving import serving

_RELOADS_WITHIN_S = 60
_RELOADED = "config hot reload applied (mcp.servers.ocmt.url)"


@asynccontextmanager
async def conversation(
    access: GatewayAccess, session: aiohttp.ClientSession
) -> AsyncIterator[Caller]:
    waking = AlwaysAwake(access.endpoint, user_id=access.user_id)
    waking.access = access
    async with open_session() as passing_on:
        routes = proxy_routes(
            waking, passing_on, GatewayAdmin(passing_on), max_body_bytes=1_000_000
        )
        path = f"api/containers/{access.user_id}/proxy/"
        async with (
            serving(Starlette(routes=routes)) as proxy,
            session.ws_connect(f"{proxy.url}/{path}") as socket,
        ):
            caller = Caller(socket)
            assert (await caller.introduce())["ok"]
            yield caller


async def use_a_tool_added_meanwhile(
    runtime: Runtime,
    spec: AgentSpec,
    session: aiohttp.ClientSession,
    tools: McpTools,
    model: ScriptedModel,
) -> None:
    """Boot a gateway whose MCP server has the tool `first`, and add two, one while it is paused.

    Asserts that the agent can use each after the new version of the tools was sent.
    """
    access = await boot(runtime, spec, session)
    before = await runtime.inspect(spec.user_id)
    async with conversation(access, session) as caller:
        assert "first was called" in await caller.say("use: first", "one")
        await _tell_turns(access, session, caller, model)
        tools.names.append("second")
        assert "Unknown tool" in await caller.say("use: second", "two")

        await runtime.set_tools_version(spec.user_id, 1)
        await _reloaded(runtime, spec.user_id, times=1)
        assert "second was called" in await caller.say("use: second", "three")

        await runtime.pause(spec.user_id)
        tools.names.append("third")
        await runtime.set_tools_version(spec.user_id, 2)
        await runtime.unpause(spec.user_id)
        await _reloaded(runtime, spec.user_id, times=2)
        assert "third was called" in await caller.say("use: third", "four")
        assert "first was called" in await caller.say("use: first", "last")
    assert set(tools.listed) == {"catalog=0", "catalog=1", "catalog=2"}
    assert await runtime.inspect(spec.user_id) == before


async def _tell_turns(
    access: GatewayAccess, session: aiohttp.ClientSession, caller: Caller, model: ScriptedModel
) -> None:
    """Assert that the gateway reports whether a run is in progress."""
    control = OpenClawControl(session)
    assert await control.active_runs(access) == 0
    reciting = asyncio.create_task(caller.say("recite: la", "recital"))
    async with asyncio.timeout(_RELOADS_WITHIN_S):
        while not model.reciting:  # noqa: ASYNC110 (nothing tells)
            await asyncio.sleep(0.1)
        assert await control.active_runs(access) == 1
        model.heard_enough.set()
        await reciting
        while await control.active_runs(access):
            pass
    await control.close()


async def _reloaded(runtime: Runtime, user_id: str, *, times: int) -> None:
    """Wait until the gateway has reloaded its configuration at least `times` times."""
    async with asyncio.timeout(_RELOADS_WITHIN_S):
        while (await runtime.logs(user_id, lines=500)).count(_RELOADED) < times:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
