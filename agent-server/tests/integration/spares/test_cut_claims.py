"""Making, claiming and retiring are cut at every outside call, by a kill or by a fault.

Then the next server (or the same one) looks, and the user is provisioned again and writes.
"""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
from ocmt_agent.decisions.activity import ActivityKind
from ocmt_agent.gateway.admin import GatewayRefused, GatewayUnreachable
from ocmt_agent.runtime.base import ContainerStatus, RuntimeFailed, RuntimeUnavailable
from ocmt_common.agent_api import HibernationState as S
from ocmt_common.problems import Problem
from ocmt_testing.agent_server.host import Host
from ocmt_testing.agent_server.interception import Interception, When
from ocmt_testing.agent_server.surviving_parts import SurvivingParts

Scenario = Callable[[Host], Awaitable[object]]


async def made(host: Host) -> None:
    await host.make_spares(1)


async def nothing(_: Host) -> None: ...


async def outdated(host: Host) -> None:
    await host.make_spares(1)
    host.runtime.openclaw = "2026.9.7"


async def claim(host: Host) -> None:
    await host.provision()


async def held(host: Host) -> None:
    """Ada's agent is stopped, and a spare is held for it."""
    await host.provision()
    host.runtime.states[host.gateway.home("ada")] = {"ada"}
    await host.orders.hibernate("ada", "stop")
    await host.make_spares(1, held=True)


async def stopped(host: Host) -> None:
    await host.provision()
    await host.orders.hibernate("ada", "stop")


async def hold(host: Host) -> None:
    await host.make_spares(1, held=True)


async def wake(host: Host) -> None:
    await host.wakes.awake("ada", kind=ActivityKind.HTTP)


SCENARIOS: dict[str, tuple[Scenario, Scenario]] = {
    "is made": (nothing, made),
    "is claimed": (made, claim),
    "is claimed, outdated": (outdated, claim),
    "is retired": (outdated, made),
    "is held": (stopped, hold),
    "becomes a stopped agent": (held, wake),
}
MOST_CALLS = 60


class Rig(SurvivingParts):
    async def check(self, host: Host, *, state: set[str]) -> None:
        """`state`: what the user's agent must find."""
        registry = host.parts.registry
        for _ in range(2):
            self.clock.advance(minutes=10)
            await host.sweep()
            await host.make_spares(1)
        await host.provision()
        async with host.wakes.using("ada", kind=ActivityKind.HTTP) as access:
            container = self.runtime.containers[host.gateway.home("ada")]
            assert container.status is ContainerStatus.RUNNING
            assert container.spec.gateway_token == access.gateway_token
            assert container.read == state
        assert host.state() is S.RUNNING
        # Everything that is there belongs to one agent.
        await host.make_spares(1)
        agents = [*registry.all(), *registry.spares()]
        homes = {host.gateway.home(agent.user_id) for agent in agents}
        assert set(self.runtime.containers) == homes
        assert len(homes) == len({agent.number for agent in agents}) == len(agents)
        for agent in agents:
            spec = self.runtime.containers[host.gateway.home(agent.user_id)].spec
            assert (spec.number, spec.gateway_token) == (agent.number, agent.gateway_token)
        token = registry.get("ada").container_token
        if token is not None:
            assert registry.token_for_management(token) == registry.get("ada").agent_token


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_server_killed_at_any_call_leaves_what_the_next_puts_right(
    tmp_path: Path, name: str, when: When
) -> None:
    before, transition = SCENARIOS[name]
    for at in range(1, MOST_CALLS):
        rig = Rig(Interception(at, when))
        folder, left = tmp_path / f"{at}", tmp_path / f"{at}-left"
        async with rig.server(folder, cut=True) as host:
            await before(host)
            await host.parts.registry.flush()
            rig.interception.armed = True
            work = asyncio.ensure_future(transition(host))
            cut = asyncio.ensure_future(rig.interception.reached.wait())
            await asyncio.wait({work, cut}, return_when=asyncio.FIRST_COMPLETED)
            shutil.copytree(folder, left)  # what a killed server would have written
            rig.runtime.down = "The server was killed."
            for task in (work, cut):
                task.cancel()
            with suppress(asyncio.CancelledError, Problem):
                await work
        rig.runtime.down = None
        if rig.interception.cut is None:
            assert at > 2
            return
        async with rig.server(left, cut=False) as host:
            await rig.check(host, state={"ada"} if before is held else set())
    raise AssertionError("the transition never ended")


FAULTS: dict[str, dict[str, Exception]] = {
    "fails": {
        "runtime": RuntimeFailed("It cannot."),
        "gateway": GatewayRefused("INTERNAL", "broken"),
    },
    "is gone": {
        "runtime": RuntimeUnavailable("The engine is gone."),
        "gateway": GatewayUnreachable("Nothing answers."),
    },
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_fault_at_any_call_is_put_right_later(
    tmp_path: Path, name: str, when: When, fault: str
) -> None:
    before, transition = SCENARIOS[name]
    for at in range(1, MOST_CALLS):
        rig = Rig(Interception(at, when, FAULTS[fault]))
        async with rig.server(tmp_path / f"{at}", cut=True) as host:
            await before(host)
            rig.interception.armed = True
            with suppress(Problem):
                await transition(host)
            rig.interception.armed = False
            if rig.interception.cut is None:
                assert at > 2
                return
            await rig.check(host, state={"ada"} if before is held else set())
    raise AssertionError("the transition never ended")
