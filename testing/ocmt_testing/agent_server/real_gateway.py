"""A real OpenClaw gateway under a real runtime."""

import asyncio

import aiohttp
from ocmt_agent.gateway.access import GatewayAccess
from ocmt_agent.gateway.admin import GatewayRefused, GatewayUnreachable, Suspended
from ocmt_agent.gateway.control import OpenClawControl
from ocmt_agent.gateway.device import DeviceKey
from ocmt_agent.runtime.base import AgentSpec, Endpoint, Runtime, SecretText

_BOOT_S = 300


def spec_of(
    user_id: str, *, agent_token: str = "agent-token-0123456789", number: int = 1
) -> AgentSpec:
    gateway_token = SecretText("gateway-token-0123456789")
    return AgentSpec(user_id, gateway_token, SecretText(agent_token), number)


def access_to(spec: AgentSpec, endpoint: Endpoint) -> GatewayAccess:
    return GatewayAccess(spec.user_id, endpoint, spec.gateway_token, DeviceKey.generate())


async def boot(runtime: Runtime, spec: AgentSpec, session: aiohttp.ClientSession) -> GatewayAccess:
    """Create and start the container, and wait until its gateway answers `health`."""
    await runtime.create(spec)
    access = access_to(spec, await runtime.start(spec.user_id))
    await until_open(access, session)
    return access


async def until_open(access: GatewayAccess, session: aiohttp.ClientSession) -> None:
    control = OpenClawControl(session)
    async with asyncio.timeout(_BOOT_S):
        while True:
            try:
                await control.health(access)
                return
            except (GatewayUnreachable, GatewayRefused):
                await asyncio.sleep(0.1)


async def suspend(access: GatewayAccess, session: aiohttp.ClientSession) -> str:
    """Wait until the gateway grants a lease, and return its id. Raises `TimeoutError`."""
    control = OpenClawControl(session)
    async with asyncio.timeout(_BOOT_S):
        while True:
            answer = await control.suspend(access, request_id="test")
            if isinstance(answer, Suspended):
                return answer.suspension_id
            await asyncio.sleep(max(answer.retry_after_s, 2))  # the limit is 30 a minute
