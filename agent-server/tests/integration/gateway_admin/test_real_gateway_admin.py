"""Our admin calls against the real OpenClaw: the contract the engine's double stands for."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from ocmt_agent.agents.agent import Agent
from ocmt_agent.gateway.access import GatewayAccess
from ocmt_agent.gateway.admin import (
    GatewayRefused,
    GatewayUnreachable,
    Suspended,
)
from ocmt_agent.gateway.control import OpenClawControl
from ocmt_agent.runtime.base import Endpoint, SecretText
from ocmt_agent.runtime.process import ProcessRuntime
from ocmt_agent.runtime.spec import Limits, dreams_at
from ocmt_testing.agent_server.openclaw import installed_openclaw, node_binary

pytestmark = pytest.mark.asyncio(loop_scope="module")


class RealGateway:
    def __init__(self, control: OpenClawControl, access: GatewayAccess) -> None:
        self.control = control
        self.access = access

    async def suspended(self) -> Suspended:
        """Ask until its own chores after the boot are done."""
        async with asyncio.timeout(90):
            while True:
                answer = await self.control.suspend(self.access, request_id="test")
                if isinstance(answer, Suspended):
                    return answer
                await asyncio.sleep(min(answer.retry_after_s, 3))


async def until(probe: Callable[[GatewayAccess], Awaitable[bool]], access: GatewayAccess) -> None:
    """Repeat a probe until it says yes: each is given up after a moment."""
    async with asyncio.timeout(60):
        while not await probe(access):  # noqa: ASYNC110 (no event of ours)
            await asyncio.sleep(0.1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RealGateway]:
    root: Path = tmp_path_factory.mktemp("agents")
    runtime = ProcessRuntime(
        node=node_binary(),
        openclaw_dir=installed_openclaw(),
        state_root=root,
        limits=Limits(2048, 2.0, 512),
        relay_host="127.0.0.1",
        relay_port=9,
    )
    agent = Agent.new("ada", agent_token="agent-token-0123456789", now=datetime.now(UTC))
    await runtime.create(agent.spec())
    access = agent.access_at(await runtime.start("ada"))
    try:
        async with aiohttp.ClientSession() as session, asyncio.timeout(300):
            control = OpenClawControl(session)
            # Another process: there is no event of ours to wait for.
            while not await control.is_started(access):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            yield RealGateway(control, access)
    finally:
        await runtime.stop("ada", grace_s=10)
        await runtime.close()


async def test_a_started_gateway_is_healthy_at_once(gateway: RealGateway) -> None:
    # Not refused; the first such call of a process may take it seconds.
    await gateway.control.call(gateway.access, "health", timeout_s=60)


async def test_the_next_job_is_its_nightly_one_and_not_a_heartbeat(gateway: RealGateway) -> None:
    now = datetime.now(UTC)
    due = await gateway.control.next_job_at(gateway.access)
    listed = (await gateway.control.call(gateway.access, "cron.list"))["jobs"]
    heartbeats = [j["nextRunAtMs"] for j in listed if j["payload"]["kind"] == "heartbeat"]
    assert due is not None
    assert now < due <= now + timedelta(days=1)
    minute, hour, *_ = dreams_at("ada").split()  # not when all do
    assert (due.astimezone().hour, due.astimezone().minute) == (int(hour), int(minute))
    assert due.timestamp() * 1000 not in heartbeats


async def test_a_suspended_gateway_takes_no_calls_until_it_is_resumed(
    gateway: RealGateway,
) -> None:
    lease = await gateway.suspended()
    with pytest.raises(GatewayRefused) as refused:
        await gateway.control.next_job_at(gateway.access)
    assert refused.value.passing
    await until(gateway.control.is_live, gateway.access)
    await gateway.control.resume(gateway.access, lease.suspension_id)
    await gateway.control.next_job_at(gateway.access)
    await until(gateway.control.is_started, gateway.access)


async def test_the_same_request_renews_the_same_lease(gateway: RealGateway) -> None:
    first = await gateway.suspended()
    assert await gateway.suspended() == first
    await gateway.control.resume(gateway.access, first.suspension_id)


async def test_giving_a_lease_back_twice_or_a_lost_one_is_no_error(gateway: RealGateway) -> None:
    lease = await gateway.suspended()
    for _ in range(2):
        await gateway.control.resume(gateway.access, lease.suspension_id)
    await gateway.control.resume(gateway.access, "a-lease-of-an-earlier-process")


async def test_a_wrong_gateway_token_is_not_taken_for_a_gateway_that_starts(
    gateway: RealGateway,
) -> None:
    access = gateway.access
    wrong = GatewayAccess("ada", access.endpoint, SecretText("wrong"), access.device)
    with pytest.raises((GatewayRefused, GatewayUnreachable)) as refused:
        await gateway.control.health(wrong)
    assert not getattr(refused.value, "passing", False)


async def test_nobody_at_the_address_is_unreachable(gateway: RealGateway) -> None:
    nowhere = GatewayAccess(
        "ada", Endpoint("127.0.0.1", 9), gateway.access.gateway_token, gateway.access.device
    )
    assert not await gateway.control.is_live(nowhere)
    assert not await gateway.control.is_started(nowhere)
    with pytest.raises(GatewayUnreachable, match="health got no answer"):
        await gateway.control.health(nowhere)
