"""A user's own policy, jobs and admission, from the sweep down to the runtime."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from ocmt_agent.decisions.activity import ActivityKind
from ocmt_agent.decisions.memory_admission import MIB, HostFigures
from ocmt_agent.decisions.sleep_policy import WakeReason
from ocmt_agent.hibernation.sleep import Mode
from ocmt_agent.runtime.base import ContainerStatus, Endpoint, RuntimeFailed
from ocmt_common.agent_api import Actor, AgentPolicy
from ocmt_common.agent_api import HibernationState as S
from ocmt_common.problems import Problem
from ocmt_testing.agent_server.host import Host, open_host

GIB = 1024 * MIB
HOUR = timedelta(hours=1)


async def pass_time(host: Host, *, minutes: int) -> None:
    """Advance minute by minute, with a sweep after each."""
    for _ in range(minutes):
        host.clock.advance(minutes=1)
        await host.sweep()


async def set_policy(host: Host, **values: object) -> None:
    agent = host.parts.registry.get("ada")
    await host.parts.registry.set_policy(agent, AgentPolicy.model_validate(values))


async def test_after_its_job_an_agent_returns_to_the_state_it_slept_in(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        agent = await host.provision()
        job_at = host.gateway.jobs["ada"] = host.clock.now() + 6 * HOUR
        await host.orders.hibernate("ada", "stop")
        active_at = agent.last_activity_at
        while host.state() is not S.RUNNING:
            await pass_time(host, minutes=1)
        assert (agent.state_who, agent.woken_for) == (Actor.JOB, job_at)
        while host.clock.now() < job_at:
            await pass_time(host, minutes=1)
            assert host.state() is S.RUNNING
        host.gateway.jobs["ada"] = job_at + 24 * HOUR
        await pass_time(host, minutes=4)
        assert host.state() is S.STOPPED
        assert agent.state_why == "its job is done"
        assert agent.last_activity_at == active_at
        assert agent.next_job_at == job_at + 24 * HOUR


async def test_an_agent_with_hourly_jobs_is_stopped_once_unused_for_long(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        agent = await host.provision()
        depths = []
        for hour in range(6):
            job_at = host.gateway.jobs["ada"] = host.clock.now() + HOUR
            while host.clock.now() < job_at:
                await pass_time(host, minutes=1)
            assert host.state() is S.RUNNING, f"missed the job of hour {hour}"
            host.gateway.jobs["ada"] = job_at + HOUR
            await pass_time(host, minutes=10)
            depths.append(agent.state)
        assert depths[0] is S.PAUSED
        assert depths[-1] is S.STOPPED


async def test_a_used_agent_sleeps_long_before_its_job(tmp_path: Path) -> None:
    """A job time from before an earlier sleep does not keep it awake until then."""
    async with open_host(tmp_path) as host:
        agent = await host.provision()
        host.gateway.jobs["ada"] = host.clock.now() + 20 * HOUR
        await host.fall_asleep()
        await host.wakes.awake("ada", kind=ActivityKind.HTTP)
        await host.fall_asleep()
        assert agent.state is S.PAUSED


async def test_a_job_whose_wake_fails_is_tried_again_and_less_often(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        host.gateway.jobs["ada"] = host.clock.now() + 2 * HOUR
        await host.orders.hibernate("ada", "stop")
        host.runtime.faults["start"] = [RuntimeFailed("It cannot.")] * 3
        tries = host.runtime.calls["start"]
        await pass_time(host, minutes=119)
        assert host.runtime.calls["start"] == tries + 1
        assert host.state() is S.FAILED
        await pass_time(host, minutes=10)
        assert host.state() is S.RUNNING
        assert host.runtime.calls["start"] == tries + 4


async def test_a_crashed_agents_job_is_known_although_it_never_slept(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        agent = await host.provision()
        host.gateway.jobs["ada"] = host.clock.now() + HOUR
        await pass_time(host, minutes=5)
        host.runtime.die("ada")
        await pass_time(host, minutes=1)
        assert host.state() is S.STOPPED
        await pass_time(host, minutes=54)
        assert host.state() is S.RUNNING
        assert agent.state_who is Actor.JOB


async def test_a_job_noted_before_a_restart_of_the_server_is_met_after_it(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        host.gateway.jobs["ada"] = host.clock.now() + 2 * HOUR
        await host.orders.hibernate("ada", "stop")
        gateway, runtime, clock = host.gateway, host.runtime, host.clock
    async with open_host(tmp_path, runtime=runtime, gateway=gateway, clock=clock) as host:
        await pass_time(host, minutes=119)
        assert host.parts.registry.get("ada").state is S.RUNNING


async def test_a_measured_slow_boot_makes_the_next_job_wake_earlier(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        agent = await host.provision()
        for _ in range(20):
            host.parts.registry.woke(S.STOPPED, seconds=200)
        host.gateway.jobs["ada"] = host.clock.now() + HOUR
        await host.orders.hibernate("ada", "stop")
        await host.sweep()
        gateway, runtime, clock = host.gateway, host.runtime, host.clock
    async with open_host(tmp_path, runtime=runtime, gateway=gateway, clock=clock) as host:
        agent = host.parts.registry.get("ada")
        while agent.state is not S.RUNNING:
            await pass_time(host, minutes=1)
        left = gateway.jobs["ada"] - clock.now()
        assert timedelta(seconds=302) <= left <= timedelta(seconds=362)


async def test_a_jump_of_the_wall_clock_neither_puts_agents_to_sleep_nor_keeps_them_awake(
    tmp_path: Path,
) -> None:
    async with open_host(tmp_path) as host:
        agent = await host.provision()
        await pass_time(host, minutes=5)
        for jump in (timedelta(days=30), timedelta(days=-60)):
            host.clock.jump(jump)
            await host.sweep()
            await host.sweep()
            assert agent.state is S.RUNNING
            assert host.clock.now() - agent.last_activity_at == timedelta(minutes=5)
        await pass_time(host, minutes=26)
        assert agent.state is S.PAUSED


async def test_office_hours_wake_an_agent_keep_it_awake_and_then_let_it_sleep(
    tmp_path: Path,
) -> None:
    async with open_host(tmp_path) as host:  # Monday, 9:00 UTC
        agent = await host.provision()
        await set_policy(
            host,
            officeHours={"timeZone": "UTC", "days": ["mon", "tue"], "from": "10:00", "to": "12:00"},
        )
        await host.fall_asleep()
        assert host.state() is S.PAUSED
        answer = (await host.client.get("/api/containers/ada/events")).json()
        assert (answer["nextWakeAt"], answer["nextWakeFor"]) == (
            "2026-11-23T10:00:00Z",
            "office hours",
        )
        active_at = agent.last_activity_at
        await pass_time(host, minutes=30)
        assert (agent.state, agent.state_why) == (S.RUNNING, "office hours")
        await pass_time(host, minutes=118)
        assert host.state() is S.RUNNING
        await pass_time(host, minutes=3)
        assert host.state() is S.PAUSED
        assert agent.last_activity_at == active_at


async def test_an_agent_that_never_sleeps_comes_back_after_a_crash_unless_ordered(
    tmp_path: Path,
) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        await set_policy(host, neverSleep=True)
        await pass_time(host, minutes=60)
        assert host.state() is S.RUNNING
        host.runtime.die("ada")
        await pass_time(host, minutes=1)
        assert host.state() is S.RUNNING
        await host.orders.hibernate("ada", "stop")
        await pass_time(host, minutes=60)
        assert host.state() is S.STOPPED


async def test_an_agent_sleeps_after_its_maximum_time_awake_even_if_used(
    tmp_path: Path,
) -> None:
    async with open_host(tmp_path) as host:
        agent = await host.provision()
        await set_policy(host, maxAwakeMs=600_000)
        minutes = 0
        while agent.state is S.RUNNING:
            await host.wakes.awake("ada", kind=ActivityKind.HTTP)
            await pass_time(host, minutes=1)
            minutes += 1
        assert agent.state is S.PAUSED
        assert 10 <= minutes <= 12
        assert agent.state_why == "awake for as long as its policy allows"


# Admission


def figures(*, available: int, swap_free: int = 8 * GIB) -> HostFigures:
    return HostFigures(16 * GIB, available, 8 * GIB, swap_free, None)


async def test_a_wake_that_does_not_fit_stops_the_longest_paused(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        for user in ("ada", "ben", "eve"):
            await host.provision(user)
        for user in ("ben", "eve", "ada"):
            host.clock.advance(minutes=5)
            await host.wakes.awake(user, kind=ActivityKind.HTTP)
        depths: dict[str, Mode] = {"ada": "stop", "ben": "pause", "eve": "pause"}
        for user, mode in depths.items():
            await host.orders.hibernate(user, mode)
        full, roomy = figures(available=GIB), figures(available=4 * GIB)
        stop = host.runtime.stop

        async def stop_and_free(user_id: str, *, grace_s: float) -> None:
            await stop(user_id, grace_s=grace_s)
            host.room.figures = roomy

        host.runtime.stop = stop_and_free  # type: ignore[method-assign]
        host.room.figures = full
        await host.wakes.awake("ada", kind=ActivityKind.HTTP)
        states = {a.user_id: a.state for a in host.parts.registry.all()}
        assert states == {"ada": S.RUNNING, "ben": S.STOPPED, "eve": S.PAUSED}
        assert host.parts.registry.get("ben").state_who is Actor.PRESSURE
        metrics = (await host.client.get("/metrics")).text
        assert 'ocmt_agent_evictions_total{mode="stop"} 1.0' in metrics
        assert 'ocmt_host_memory_bytes{kind="available"} 4.294967296e+09' in metrics


async def test_an_idle_agent_with_unreported_work_is_not_evicted(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        for user in ("ada", "ben"):
            await host.provision(user)
        await host.orders.hibernate("ada", "stop")
        host.clock.advance(minutes=10)
        look = host.runtime.cpu_seconds

        async def busy(user_id: str) -> float | None:
            host.runtime.containers[user_id].cpu_s += 1
            return await look(user_id)

        host.runtime.cpu_seconds = busy  # type: ignore[method-assign]
        host.room.figures = figures(available=GIB)
        with pytest.raises(Problem) as refused:
            await host.wakes.awake("ada", kind=ActivityKind.HTTP)
        assert refused.value.code == "host-full"
        assert host.runtime.containers["ben"].status is ContainerStatus.RUNNING


async def test_a_wake_without_an_agent_to_evict_is_503_with_the_remedy(
    tmp_path: Path,
) -> None:
    async with open_host(tmp_path) as host:
        agent = await host.provision()
        await host.orders.hibernate("ada", "stop")
        host.room.figures = figures(available=GIB)
        answer = await host.client.post("/api/containers/ada/wake")
        assert (answer.status_code, answer.json()["code"]) == (503, "host-full")
        assert int(answer.headers["retry-after"]) >= 5
        assert "ocmt memory" in answer.json()["detail"]
        assert agent.state is S.STOPPED
        assert agent.failure is None
        metrics = (await host.client.get("/metrics")).text
        assert 'ocmt_agent_refused_wakes_total{why="memory"} 1.0' in metrics
        host.room.figures = figures(available=4 * GIB)
        assert (await host.client.post("/api/containers/ada/wake")).status_code == 200


async def test_a_job_refused_for_lack_of_memory_is_retried_at_the_next_sweep(
    tmp_path: Path,
) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        host.gateway.jobs["ada"] = host.clock.now() + HOUR
        await host.orders.hibernate("ada", "stop")
        host.room.figures = figures(available=GIB)
        await pass_time(host, minutes=62)
        assert host.state() is S.STOPPED
        host.room.figures = figures(available=4 * GIB)
        await pass_time(host, minutes=1)
        assert host.state() is S.RUNNING
        metrics = (await host.client.get("/metrics")).text
        assert "ocmt_agent_job_lateness_seconds_count 1.0" in metrics
        assert "ocmt_agent_job_lateness_seconds_sum 180.0" in metrics


async def test_a_thousand_wakes_at_once_boot_a_few_at_a_time_and_users_first(
    tmp_path: Path,
) -> None:
    async with open_host(tmp_path, WAKE_TIMEOUT_MS="600000") as host:
        names = [f"u{n:03}" for n in range(1000)]
        for name in names:
            await host.provision(name)
            await host.orders.hibernate(name, "stop")
        slots = host.parts.hibernation.cores
        running, most, order = 0, 0, []
        everybody = asyncio.Event()
        start = host.runtime.start

        async def counted(user_id: str) -> Endpoint:
            nonlocal running, most
            running += 1
            most = max(most, running)
            order.append(user_id)
            await everybody.wait()
            await asyncio.sleep(0.001)
            running -= 1
            return await start(user_id)

        host.runtime.start = counted  # type: ignore[method-assign]
        wakes = host.wakes
        jobs = [
            asyncio.create_task(
                host.parts.hibernation.loop._wake(host.parts.registry.get(n), WakeReason.JOB)
            )
            for n in names[:500]
        ]
        await asyncio.sleep(0)
        users = [asyncio.create_task(wakes.awake(n, kind=ActivityKind.HTTP)) for n in names[500:]]
        # A request comes for one that waits in the queue for its job.
        hurried = asyncio.create_task(wakes.awake(names[499], kind=ActivityKind.HTTP))
        while f"ocmt_agent_queued_wakes {float(len(names) - slots)}" not in (  # noqa: ASYNC110 (only the figure tells)
            host.parts.registry.metrics.text().decode()
        ):
            await asyncio.sleep(0.01)
        # And for one that stands in the queue already.
        late = asyncio.create_task(wakes.awake(names[498], kind=ActivityKind.HTTP))
        await asyncio.sleep(0)
        everybody.set()
        await asyncio.gather(*jobs, *users, hurried, late)
        assert most <= slots
        assert set(order[slots : slots + 502]) == set(names[498:])
        assert {a.state for a in host.parts.registry.all()} == {S.RUNNING}


async def test_a_wake_that_gets_no_turn_in_time_is_refused_and_nothing_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_host(tmp_path) as host:
        slots = host.parts.hibernation.cores
        names = [f"u{n}" for n in range(slots + 1)]
        for name in names:
            await host.provision(name)
            await host.orders.hibernate(name, "stop")
        gate = host.runtime.hold("start")
        stops = host.runtime.calls["stop"]
        first = [
            asyncio.create_task(host.wakes.awake(n, kind=ActivityKind.HTTP)) for n in names[:-1]
        ]
        await gate.reached.wait()
        with monkeypatch.context() as impatient:
            impatient.setattr(host.parts.hibernation.admission, "_wait_s", 0.05)
            with pytest.raises(Problem) as refused:
                await host.wakes.awake(names[-1], kind=ActivityKind.HTTP)
        assert (refused.value.code, refused.value.status) == ("host-full", 503)
        assert host.parts.registry.get(names[-1]).state is S.STOPPED
        gate.open()
        await asyncio.gather(*first)
        assert host.runtime.calls["stop"] == stops
        await host.wakes.awake(names[-1], kind=ActivityKind.HTTP)


async def test_two_wakes_that_would_evict_each_other_do_not_wait_for_ever(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        for user in ("ada", "ben"):
            await host.provision(user)
            await host.orders.hibernate(user, "pause")
        host.room.figures = figures(available=0)
        answers = await asyncio.wait_for(
            asyncio.gather(
                *(host.wakes.awake(u, kind=ActivityKind.HTTP) for u in ("ada", "ben")),
                return_exceptions=True,
            ),
            20,
        )
        assert {getattr(a, "code", "") for a in answers} == {"host-full"}
