"""Every transition is cut at every outside call, by a kill of the server or by a fault.

Then the next server (or the same one) sweeps, and a request comes. The record must match the
runtime, no gateway may stay closed, and the agent must answer.
"""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from ocmt_agent.decisions.activity import ActivityKind
from ocmt_agent.gateway.admin import Busy, GatewayRefused, GatewayUnreachable
from ocmt_agent.runtime.base import ContainerStatus, RuntimeFailed, RuntimeUnavailable
from ocmt_common.agent_api import HibernationState as S
from ocmt_common.problems import Problem
from ocmt_testing.agent_server.host import Host
from ocmt_testing.agent_server.interception import Interception, When
from ocmt_testing.agent_server.surviving_parts import SurvivingParts

Scenario = Callable[[Host], Awaitable[object]]
SHOWN = {
    ContainerStatus.RUNNING: S.RUNNING,
    ContainerStatus.PAUSED: S.PAUSED,
    ContainerStatus.EXITED: S.STOPPED,
}


async def nothing(_: Host) -> None: ...


async def asleep(host: Host) -> None:
    await host.orders.hibernate("ada", "pause")


async def stopped(host: Host) -> None:
    await host.orders.hibernate("ada", "stop")


async def asleep_before_a_job(host: Host) -> None:
    host.gateway.jobs["ada"] = host.clock.now() + timedelta(hours=1)
    await host.fall_asleep()
    host.clock.advance(minutes=28, seconds=50)


async def busy(host: Host) -> None:
    host.gateway.busy["ada"] = Busy(["1 active run"], 20)


async def paused_by_force(host: Host) -> None:
    await host.orders.hibernate("ada", "pause", force=True)


async def stopped_by_force(host: Host) -> None:
    await host.orders.hibernate("ada", "stop", force=True)


async def thawed_by_hand(host: Host) -> None:
    await asleep(host)
    host.runtime.containers["ada"].status = ContainerStatus.RUNNING


async def request(host: Host) -> None:
    await host.wakes.awake("ada", kind=ActivityKind.HTTP)


async def idle(host: Host) -> None:
    await host.fall_asleep()


async def restart(host: Host) -> None:
    await host.orders.restart("ada")


async def sweep(host: Host) -> None:
    await host.sweep()


SCENARIOS: dict[str, tuple[Scenario, Scenario]] = {
    "falls asleep": (nothing, idle),
    "is ordered to pause": (nothing, asleep),
    "is ordered to stop": (nothing, stopped),
    "is stopped out of its pause": (asleep, stopped),
    "is thawed": (asleep, request),
    "boots": (stopped, request),
    "is woken for a job": (asleep_before_a_job, sweep),
    "is restarted": (nothing, restart),
    "is paused by force": (busy, paused_by_force),
    "is stopped by force": (busy, stopped_by_force),
    "is found thawed": (thawed_by_hand, sweep),
}
MOST_CALLS = 40


class Rig(SurvivingParts):
    async def check(self, host: Host) -> None:
        """Two sweeps, then a request."""
        agent = host.parts.registry.get("ada")
        for _ in range(2):
            self.clock.advance(minutes=2)
            await host.sweep()
        shown = self.runtime.containers.get("ada")
        if shown is None or shown.status is ContainerStatus.EXITED:
            assert agent.state in (S.STOPPED, S.FAILED)
        else:
            assert agent.state is SHOWN[shown.status]
        if agent.state is S.RUNNING:
            assert not self.gateway.closed("ada")
            assert agent.suspension_id is None
        await request(host)
        assert agent.state is S.RUNNING
        assert self.runtime.containers["ada"].status is ContainerStatus.RUNNING
        assert not self.gateway.closed("ada")


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
            await host.provision()
            await before(host)
            await host.parts.registry.flush()
            rig.interception.armed = True
            work = asyncio.ensure_future(transition(host))
            cut = asyncio.ensure_future(rig.interception.reached.wait())
            await asyncio.wait({work, cut}, return_when=asyncio.FIRST_COMPLETED)
            shutil.copytree(folder, left)  # what a killed server would have written
            for task in (work, cut):
                task.cancel()
            with suppress(asyncio.CancelledError, Problem):
                await work
        if rig.interception.cut is None:
            assert at > 2
            return
        async with rig.server(left, cut=False) as host:
            await rig.check(host)
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
    "is starting": {
        "runtime": RuntimeFailed("It cannot."),
        "gateway": GatewayRefused("UNAVAILABLE", "starting", retry_after_s=0.1),
    },
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_fault_at_any_call_is_corrected_by_the_next_sweep(
    tmp_path: Path, name: str, when: When, fault: str
) -> None:
    before, transition = SCENARIOS[name]
    for at in range(1, MOST_CALLS):
        rig = Rig(Interception(at, when, FAULTS[fault]))
        async with rig.server(tmp_path / f"{at}", cut=True) as host:
            await host.provision()
            await before(host)
            rig.interception.armed = True
            with suppress(Problem):
                await transition(host)
            if rig.interception.cut is None:
                assert at > 2
                return
            await rig.check(host)
    raise AssertionError("the transition never ended")
