import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from ocmt_agent.decisions import transition_reasons as reasons
from ocmt_agent.decisions.activity import ActivityKind
from ocmt_agent.gateway.admin import Busy, GatewayRefused, GatewayUnreachable
from ocmt_agent.runtime.base import ContainerStatus, RuntimeFailed, RuntimeUnavailable
from ocmt_common.agent_api import HibernationState as S
from ocmt_common.problems import Problem
from ocmt_testing.agent_server.host import Host, open_host


async def test_an_idle_agent_is_paused_then_stopped(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        await host.fall_asleep()
        assert host.state() is S.PAUSED
        host.clock.advance(hours=3, minutes=59)
        await host.sweep()
        assert host.state() is S.PAUSED
        host.clock.advance(minutes=1)
        await host.sweep()
        assert host.state() is S.STOPPED


async def test_a_paused_agent_that_is_used_after_its_stop_was_decided_is_not_stopped(
    tmp_path: Path,
) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        agent = await host.fall_asleep()
        mark = agent.activities
        host.parts.registry.touch(agent, ActivityKind.WEBSOCKET)
        assert not await host.parts.hibernation.sleeps.sleep(
            agent, "stop", why=reasons.PAUSED_FOR_LONG, mark=mark
        )
        assert agent.state is S.PAUSED


async def test_two_looks_at_once_measure_no_cpu(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        agent = await host.provision()
        host.clock.advance(minutes=30)
        await host.sweep()
        await host.sweep()  # what it used between these two says nothing
        assert agent.state is S.RUNNING


async def test_activity_keeps_an_agent_awake(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        agent = await host.provision()
        for _ in range(4):
            host.clock.advance(minutes=20)
            await host.wakes.awake("ada", kind=ActivityKind.WEBSOCKET)
            await host.sweep()
            await host.sweep()
        assert agent.state is S.RUNNING
        assert agent.last_activity_kind is ActivityKind.WEBSOCKET


async def test_a_request_in_flight_keeps_an_agent_awake_and_idle_counts_from_its_end(
    tmp_path: Path,
) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        async with host.wakes.using("ada", kind=ActivityKind.HTTP):
            await host.fall_asleep()
            assert host.state() is S.RUNNING
        for _ in range(3):
            host.clock.advance(minutes=1)
            await host.sweep()
        assert host.state() is S.RUNNING
        await host.fall_asleep()
        assert host.state() is S.PAUSED


async def test_a_busy_gateway_is_not_frozen_and_gives_its_reasons(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        agent = await host.provision()
        host.gateway.busy["ada"] = Busy(["1 active request"], retry_after_s=90)
        await host.fall_asleep()
        assert (agent.state, agent.blockers) == (S.RUNNING, ["1 active request"])

        # It is not asked again before the time that it named.
        asked = host.gateway.calls["suspend"]
        host.clock.advance(seconds=60)
        await host.sweep()
        assert host.gateway.calls["suspend"] == asked
        del host.gateway.busy["ada"]
        host.clock.advance(seconds=60)
        await host.sweep()
        assert (agent.state, agent.blockers) == (S.PAUSED, [])


async def test_a_request_during_the_gateway_s_consent_cancels_the_pause(
    tmp_path: Path,
) -> None:
    async with open_host(tmp_path) as host:
        agent = await host.provision()
        late: list[asyncio.Task[None]] = []

        async def request() -> None:
            await host.wakes.awake("ada", kind=ActivityKind.HTTP)
            assert not host.gateway.closed("ada")  # it waited until the gateway was open again

        def request_arrives() -> None:
            host.gateway.during_suspend = None
            late.append(asyncio.create_task(request()))
            host.parts.registry.touch(agent, ActivityKind.HTTP)

        host.gateway.during_suspend = request_arrives
        await host.fall_asleep()
        await late[0]
        assert agent.state is S.RUNNING
        assert not host.gateway.closed("ada")
        assert host.runtime.calls["pause"] == 0


async def test_a_request_that_arrives_while_it_freezes_wakes_it_again(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        agent = await host.provision()
        gate = host.runtime.hold("pause")
        pausing = asyncio.create_task(host.orders.hibernate("ada", "pause"))
        await gate.reached.wait()
        waking = asyncio.create_task(host.wakes.awake("ada", kind=ActivityKind.HTTP))
        await asyncio.sleep(0)
        assert not waking.done()
        gate.open()
        await asyncio.gather(pausing, waking)
        assert agent.state is S.RUNNING
        assert not host.gateway.closed("ada")


async def test_unreported_work_is_detected_by_its_cpu_use(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        agent = await host.provision()
        host.clock.advance(minutes=30)
        await host.sweep()
        for _ in range(3):
            host.clock.advance(minutes=1)
            host.runtime.containers["ada"].cpu_s += 55
            await host.sweep()
        assert host.state() is S.RUNNING
        assert "0.9 CPU cores" in agent.blockers[0]
        host.clock.advance(minutes=1)
        await host.sweep()
        assert host.state() is S.PAUSED


@pytest.mark.parametrize(
    ("call", "fault"),
    [
        ("next_job_at", GatewayUnreachable("no answer")),
        ("suspend", GatewayUnreachable("no answer")),
        ("suspend", GatewayRefused("INTERNAL", "broken")),
    ],
)
async def test_an_unreachable_gateway_counts_as_busy(
    tmp_path: Path, call: str, fault: Exception
) -> None:
    async with open_host(tmp_path) as host:
        agent = await host.provision()
        host.gateway.faults[call] = [fault]
        await host.fall_asleep()
        assert agent.state is S.RUNNING
        assert agent.blockers[0].startswith(("its gateway does not answer", "its gateway refused"))


async def test_a_freeze_that_fails_is_undone(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        agent = await host.provision()
        host.runtime.faults["pause"] = [RuntimeFailed("freezer is stuck")]
        await host.fall_asleep()
        assert agent.state is S.RUNNING
        assert host.runtime.calls["unpause"] == 1
        assert not host.gateway.closed("ada")
        assert "freezer is stuck" in agent.blockers[0]
        await host.wakes.awake("ada", kind=ActivityKind.HTTP)


async def test_an_engine_lost_during_a_freeze_leaves_no_closed_gateway(
    tmp_path: Path,
) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        host.runtime.faults["pause"] = [RuntimeUnavailable("gone")]
        await host.fall_asleep()
        assert host.gateway.closed("ada")
        await host.wakes.awake("ada", kind=ActivityKind.HTTP)
        assert not host.gateway.closed("ada")


async def test_an_operator_cannot_freeze_a_busy_agent(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        host.gateway.busy["ada"] = Busy(["2 active requests"], 20)
        for mode in ("pause", "stop"):
            answer = await host.client.post("/api/containers/ada/hibernate", json={"mode": mode})
            assert answer.status_code == 409
            assert answer.json()["blockers"] == ["2 active requests"]
        assert host.runtime.containers["ada"].status is ContainerStatus.RUNNING


async def test_an_operator_cannot_freeze_an_agent_that_serves_a_request(tmp_path: Path) -> None:
    """Its gateway may not count the proxy's open exchange as work."""
    async with open_host(tmp_path) as host:
        await host.provision()
        async with host.wakes.using("ada", kind=ActivityKind.HTTP):
            for mode in ("pause", "stop"):
                answer = await host.client.post(
                    "/api/containers/ada/hibernate", json={"mode": mode}
                )
                assert answer.status_code == 409
                assert answer.json()["blockers"] == ["a request is being served"]
        assert host.runtime.containers["ada"].status is ContainerStatus.RUNNING
        assert not host.gateway.closed("ada")


async def test_a_paused_agent_is_woken_for_its_job_and_sleeps_again_after(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        agent = await host.provision()
        host.gateway.jobs["ada"] = host.clock.now() + timedelta(hours=2)
        await host.fall_asleep()
        active_at = agent.last_activity_at
        await sweep_until(host, S.RUNNING)
        job_at = host.gateway.jobs["ada"]
        assert timedelta() <= job_at - host.clock.now() <= timedelta(seconds=65)
        assert agent.last_activity_at == active_at
        while host.clock.now() < job_at:
            assert agent.state is S.RUNNING
            host.clock.advance(minutes=1)
            await host.sweep()
        host.gateway.jobs["ada"] += timedelta(days=1)
        await sweep_until(host, S.PAUSED)
        assert host.clock.now() - job_at < timedelta(minutes=5)


async def test_a_stopped_agent_is_woken_for_its_job_with_time_to_boot(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        host.gateway.jobs["ada"] = host.clock.now() + timedelta(hours=9)
        await host.orders.hibernate("ada", "stop")
        await sweep_until(host, S.RUNNING)
        left = host.gateway.jobs["ada"] - host.clock.now()
        assert timedelta(seconds=30) <= left <= timedelta(seconds=90)


async def test_an_agent_whose_job_is_near_is_not_put_to_sleep(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        agent = await host.provision()
        host.gateway.jobs["ada"] = host.clock.now() + timedelta(minutes=33)
        await host.fall_asleep()
        assert agent.state is S.RUNNING
        assert agent.blockers == ["a scheduled job is due soon"]
        assert host.gateway.calls["suspend"] == 0


async def test_a_slow_agent_delays_no_other(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        for user in ("ada", "ben", "eve"):
            await host.provision(user)
        host.clock.advance(minutes=30)
        await host.sweep()
        host.clock.advance(minutes=1)
        ada = host.parts.registry.get("ada")
        async with ada.lock:  # a transition that takes for ever
            await host.sweep()
        states = {a.user_id: a.state for a in host.parts.registry.all()}
        assert states == {"ada": S.RUNNING, "ben": S.PAUSED, "eve": S.PAUSED}


async def test_one_agent_that_fails_in_a_sweep_does_not_end_it(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        for user in ("ada", "ben"):
            await host.provision(user)
        host.runtime.faults["cpu_seconds"] = [ZeroDivisionError("a bug of ours")]
        await host.fall_asleep()
        host.clock.advance(minutes=1)
        await host.sweep()
        assert {a.state for a in host.parts.registry.all()} == {S.PAUSED}


async def test_waking_a_removed_agent_is_refused(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        await host.orders.hibernate("ada", "stop")
        gate = host.runtime.hold("remove")
        removing = asyncio.create_task(host.parts.provisioning.remove("ada", with_state=False))
        await gate.reached.wait()
        waking = asyncio.create_task(host.wakes.awake("ada", kind=ActivityKind.HTTP))
        await asyncio.sleep(0)
        gate.open()
        await removing
        with pytest.raises(Problem) as refused:
            await waking
        assert refused.value.status == 409
        assert "ada" not in host.runtime.containers


async def sweep_until(host: Host, state: S, *, limit: int = 700) -> None:
    for _ in range(limit):
        if host.parts.registry.get("ada").state is state:
            return
        host.clock.advance(minutes=1)
        await host.sweep()
    raise AssertionError(f"never {state}")
