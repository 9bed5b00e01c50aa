"""A disabled agent is stopped and stays stopped, whatever requests arrive and whatever fails."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from ocmt_agent.decisions.activity import ActivityKind
from ocmt_agent.runtime.base import ContainerStatus, RuntimeFailed, RuntimeUnavailable
from ocmt_common.agent_api import AgentPolicy
from ocmt_common.agent_api import HibernationState as S
from ocmt_common.problems import Problem
from ocmt_testing.agent_server.fake_clock import FakeClock
from ocmt_testing.agent_server.fake_control import FakeControl
from ocmt_testing.agent_server.fake_runtime import FakeRuntime
from ocmt_testing.agent_server.host import AGENT_TOKEN, Host, open_host
from ocmt_testing.agent_server.interception import Interception, When

Before = Callable[[Host], Awaitable[object]]


async def running(_: Host) -> None: ...


async def paused(host: Host) -> None:
    await host.orders.hibernate("ada", "pause")


async def stopped(host: Host) -> None:
    await host.orders.hibernate("ada", "stop")


async def failed(host: Host) -> None:
    await stopped(host)
    host.runtime.faults["start"] = [RuntimeFailed("It cannot.")]
    with suppress(Problem):
        await host.wakes.awake("ada", kind=ActivityKind.HTTP)


STATES: dict[str, Before] = {
    "running": running,
    "paused": paused,
    "stopped": stopped,
    "failed": failed,
}


def is_down(host: Host) -> bool:
    container = host.runtime.containers.get("ada")
    return container is None or container.status is ContainerStatus.EXITED


async def disable(host: Host) -> None:
    answer = await host.client.post("/api/containers/ada/disable")
    assert answer.status_code == 200, answer.text
    assert answer.json()["disabled"] is True


async def refused(host: Host, method: str, path: str, body: object = None) -> None:
    answer = await host.client.request(method, f"/api/containers{path}", json=body)
    assert (answer.status_code, answer.json()["code"]) == (409, "agent-disabled"), path
    assert "Enable" in answer.json()["detail"]


@pytest.mark.parametrize("state", STATES)
async def test_a_disabled_agent_is_stopped_and_no_request_wakes_it(
    tmp_path: Path, state: str
) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        await STATES[state](host)
        await disable(host)
        assert is_down(host)
        boots = host.runtime.calls["start"]

        await refused(host, "POST", "/ada/wake")
        await refused(host, "POST", "/ada/restart")
        await refused(host, "GET", "/ada/proxy/healthz")
        await refused(host, "POST", "", {"userId": "ada", "agentToken": AGENT_TOKEN})
        await refused(host, "POST", "", {"userId": "ada", "agentToken": AGENT_TOKEN + "-new"})
        await disable(host)

        assert host.runtime.calls["start"] == boots
        assert is_down(host)


async def test_neither_jobs_nor_office_hours_nor_a_policy_wake_it(tmp_path: Path) -> None:
    policies = [
        AgentPolicy(),
        AgentPolicy(never_sleep=True),
        AgentPolicy.model_validate(
            {
                "officeHours": {
                    "timeZone": "UTC",
                    "days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"],
                    "from": "00:00",
                    "to": "23:59",
                }
            }
        ),
    ]
    for number, policy in enumerate(policies):
        (tmp_path / f"{number}").mkdir()
        async with open_host(tmp_path / f"{number}") as host:
            agent = await host.provision()
            await host.parts.registry.set_policy(agent, policy)
            host.gateway.jobs["ada"] = host.clock.now() + timedelta(hours=1)
            await host.orders.hibernate("ada", "pause")
            await disable(host)
            boots = host.runtime.calls["start"]
            assert host.parts.hibernation.schedule.next_wake(agent) is None
            for _ in range(30):
                host.clock.advance(hours=1)
                await host.sweep()
            assert agent.state is S.STOPPED
            assert host.runtime.calls["start"] == boots


async def test_requests_that_wait_for_a_running_wake_are_refused(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        await stopped(host)
        booting = host.runtime.hold("start")
        waking = asyncio.ensure_future(host.wakes.awake("ada", kind=ActivityKind.HTTP))
        await booting.reached.wait()
        disabling = asyncio.ensure_future(host.orders.disable("ada"))
        await asyncio.sleep(0.05)
        booting.open()
        await disabling
        with pytest.raises(Problem) as raised:
            await waking
        assert raised.value.code == "agent-disabled"
        assert is_down(host)


async def test_one_started_by_hand_is_stopped_at_the_next_look(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        agent = await host.provision()
        await disable(host)
        for status in (ContainerStatus.RUNNING, ContainerStatus.PAUSED):
            host.runtime.containers["ada"].status = status
            await host.sweep()
            assert is_down(host)
            assert agent.state is S.STOPPED


async def test_an_enabled_agent_waits_to_be_woken_and_is(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        await disable(host)
        answer = await host.client.post("/api/containers/ada/enable")
        assert answer.json()["disabled"] is False
        assert is_down(host)
        await host.sweep()
        assert host.state() is S.STOPPED
        assert (await host.client.post("/api/containers/ada/wake")).status_code == 200
        assert host.state() is S.RUNNING


async def test_it_stays_disabled_over_restarts_of_the_server(tmp_path: Path) -> None:
    runtime, clock = FakeRuntime(), FakeClock()
    gateway = FakeControl(runtime)
    async with open_host(tmp_path, runtime=runtime, gateway=gateway, clock=clock) as host:
        await host.provision()
        await disable(host)
    for _ in range(2):
        async with open_host(tmp_path, runtime=runtime, gateway=gateway, clock=clock) as host:
            runtime.containers["ada"].status = ContainerStatus.RUNNING
            await host.sweep()
            assert is_down(host)
            await refused(host, "POST", "/ada/wake")


@pytest.mark.parametrize("gone", [RuntimeUnavailable("It is away."), RuntimeFailed("It cannot.")])
@pytest.mark.parametrize("call", ["inspect", "stop"])
async def test_what_could_not_be_stopped_is_stopped_at_the_next_look(
    tmp_path: Path, call: str, gone: Exception
) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        host.runtime.faults[call] = [gone]
        answer = await host.client.post("/api/containers/ada/disable")
        assert answer.status_code == 503
        await refused(host, "POST", "/ada/wake")
        await host.sweep()
        assert is_down(host)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("state", ["running", "paused"])
async def test_a_server_killed_at_any_call_leaves_it_disabled_for_the_next(
    tmp_path: Path, state: str, when: When
) -> None:
    for at in range(1, 20):
        runtime, clock = FakeRuntime(), FakeClock()
        gateway = FakeControl(runtime)
        cut = Interception(at, when)
        folder, left = tmp_path / f"{at}", tmp_path / f"{at}-left"
        folder.mkdir()
        async with open_host(
            folder,
            runtime=cut.around("runtime", runtime),
            gateway=cut.around("gateway", gateway),
            clock=clock,
        ) as host:
            await host.provision()
            await STATES[state](host)
            await host.parts.registry.flush()
            cut.armed = True
            work = asyncio.ensure_future(host.orders.disable("ada"))
            reached = asyncio.ensure_future(cut.reached.wait())
            await asyncio.wait({work, reached}, return_when=asyncio.FIRST_COMPLETED)
            shutil.copytree(folder, left)  # what a killed server would have written
            for task in (work, reached):
                task.cancel()
            with suppress(asyncio.CancelledError, Problem):
                await work
        if cut.cut is None:
            assert at > 2
            return
        async with open_host(left, runtime=runtime, gateway=gateway, clock=clock) as host:
            await host.sweep()
            assert is_down(host)
            await refused(host, "POST", "/ada/wake")
    raise AssertionError("the transition never ended")
