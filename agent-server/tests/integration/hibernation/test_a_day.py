"""A whole day in seconds: users come and go, tabs, long runs, jobs, and many jobs at once."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest
from ocmt_agent.decisions.activity import ActivityKind
from ocmt_agent.decisions.memory_admission import MIB, HostFigures
from ocmt_agent.hibernation import cpu_use
from ocmt_agent.runtime.base import ContainerStatus
from ocmt_common.agent_api import AgentPolicy
from ocmt_common.agent_api import HibernationState as S
from ocmt_common.problems import Problem
from ocmt_testing.agent_server.day import Day
from ocmt_testing.agent_server.host import Host, open_host

USERS = [f"u{number:02}" for number in range(24)]
HOUR = timedelta(hours=1)
GIB = 1024 * MIB
ROOMY = HostFigures(64 * GIB, 60 * GIB, 64 * GIB, 64 * GIB, None, swap_disk=64 * GIB)


async def request(host: Host, user_id: str) -> None:
    """Answered by a gateway that runs and is open, or not at all."""
    async with host.wakes.using(user_id, kind=ActivityKind.HTTP):
        container = host.runtime.containers[host.gateway.home(user_id)]
        assert container.status is ContainerStatus.RUNNING
        assert container.read == {user_id}
        assert not host.gateway.closed(user_id)


def write(host: Host, user_id: str) -> None:
    """The user's gateway has something of theirs in its state, and has read it."""
    home = host.gateway.home(user_id)
    host.runtime.states[home] = {user_id}
    host.runtime.containers[home].read = frozenset({user_id})


@asynccontextmanager
async def a_day(folder: Path, chance: random.Random) -> AsyncIterator[Day]:
    """It begins at nine; two thirds of the users have a job at the same full hour, some hourly."""
    async with open_host(folder) as host:
        nine = host.clock.now()
        jobs = {}
        for number, user_id in enumerate(USERS):
            await host.provision(user_id)
            write(host, user_id)
            own = [nine + 5 * HOUR] if number % 3 else []
            if number % 8 == 0:
                own += [nine + timedelta(minutes=60 * n + 17) for n in range(1, 24)]
            own += [nine + timedelta(minutes=chance.randrange(60, 1400)) for _ in range(2)]
            jobs[user_id] = sorted(set(own))
        policy = AgentPolicy(stop_after_ms=3_600_000)  # so that boots are part of the day
        for user_id in USERS[::4]:
            await host.parts.registry.set_policy(host.parts.registry.get(user_id), policy)
        yield Day(host, jobs)


def some_arrive(chance: random.Random) -> list[str]:
    """The users who send a request in this half minute."""
    return [user_id for user_id in USERS if chance.random() < 1 / 400]


def they_work(day: Day, user_id: str, chance: random.Random) -> None:
    """The work of a request may continue long after its answer."""
    kind = chance.random()
    if kind < 0.3:
        day.work(user_id, timedelta(minutes=chance.randrange(2, 90)), registered=True)
    elif kind < 0.45:  # a child process of a tool's, of which the gateway knows nothing
        day.work(user_id, timedelta(minutes=chance.randrange(35, 90)), registered=False)


def check_states(host: Host) -> None:
    shown = {
        ContainerStatus.RUNNING: S.RUNNING,
        ContainerStatus.PAUSED: S.PAUSED,
        ContainerStatus.EXITED: S.STOPPED,
    }
    for agent in host.parts.registry.all():
        container = host.runtime.containers[host.gateway.home(agent.user_id)]
        assert agent.state is shown[container.status]
        assert agent.in_flight == 0
        assert not agent.lock.locked()


@pytest.mark.parametrize(("seed", "with_spares"), [(1, False), (2, False), (3, True)])
async def test_a_day_loses_no_reply_no_job_and_no_run_and_sleeps_whenever_it_can(
    tmp_path: Path, seed: int, with_spares: bool
) -> None:
    chance = random.Random(seed)
    async with a_day(tmp_path, chance) as day:
        if with_spares:
            day.host.room.figures = ROOMY
        due = {(user_id, at) for user_id, all_due in day.jobs.items() for at in all_due}
        asleep = looked = 0
        for step in range(24 * 120):
            if step % 20 == 0:
                await day.host.parts.spares.look()
            for user_id in some_arrive(chance):
                await request(day.host, user_id)
                they_work(day, user_id, chance)
            await day.step()
            states = [agent.state for agent in day.host.parts.registry.all()]
            asleep += sum(state in (S.PAUSED, S.STOPPED) for state in states)
            looked += len(states)
        check_states(day.host)
        assert day.cut == []
        assert day.lost == []
        assert day.doubled == []
        assert set(day.ran) == {one for one in due if one[1] <= day.now}
        assert max(day.ran.values()) <= timedelta(minutes=1)
        assert day.awake_for_nothing == []
        assert asleep / looked > 0.4
        metrics = day.host.parts.registry.metrics.text().decode()
        assert "ocmt_agent_failed_wakes_total 0.0" in metrics
        in_spares = starts(metrics, "claimed")
        assert (in_spares > 20) if with_spares else (in_spares == 0)
        assert starts(metrics, "failed") == 0


def starts(metrics: str, outcome: str) -> float:
    """How many stopped agents were woken with that outcome, by the server's metrics."""
    name = f'ocmt_agent_spare_starts_total{{outcome="{outcome}"}} '
    return sum(float(line.removeprefix(name)) for line in metrics.splitlines() if name in line)


async def test_a_day_on_a_host_that_is_too_small_cuts_nothing_and_asks_to_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu_use, "CPU_LOOK_S", 0.001)
    chance = random.Random(4)
    async with a_day(tmp_path, chance) as day:
        host = day.host
        total = 12 * 1024 * MIB

        def read() -> HostFigures:
            statuses = [c.status for c in host.runtime.containers.values()]
            used = 800 * MIB * statuses.count(ContainerStatus.RUNNING)
            used += 300 * MIB * statuses.count(ContainerStatus.PAUSED)
            return HostFigures(total, max(0, total - used), 0, 0, None)

        for user_id in USERS:
            await host.orders.hibernate(user_id, "stop")
        host.parts.hibernation.admission._read_host = read
        refused = answered = 0
        for step in range(12 * 120):
            arrived = some_arrive(chance)
            if step % 360 == 200:
                arrived = chance.sample(USERS, 16)  # a crowd
            answers = await asyncio.gather(
                *(request(host, user_id) for user_id in arrived), return_exceptions=True
            )
            for user_id, answer in zip(arrived, answers, strict=True):
                if answer is None:
                    answered += 1
                    they_work(day, user_id, chance)
                else:
                    assert isinstance(answer, Problem)
                    assert (answer.code, answer.status) == ("host-full", 503)
                    refused += 1
            await day.step()
            assert read().available > 0
        check_states(host)
        assert day.cut == []
        assert day.doubled == []
        assert answered > refused > 0
        evicted = "ocmt_agent_evictions_total"
        assert evicted in host.parts.registry.metrics.text().decode()


async def test_a_day_with_a_restart_of_the_server_every_hour_loses_nothing(
    tmp_path: Path,
) -> None:
    chance = random.Random(5)
    async with a_day(tmp_path, chance) as day:
        first = day.host
        due = {(user_id, at) for user_id, all_due in day.jobs.items() for at in all_due}
    for _ in range(12):
        async with open_host(
            tmp_path, runtime=first.runtime, gateway=first.gateway, clock=first.clock
        ) as host:
            day.host = host
            for _ in range(120):
                for user_id in some_arrive(chance):
                    with suppress(Problem):
                        await request(host, user_id)
                    they_work(day, user_id, chance)
                await day.step()
            check_states(host)
    assert day.cut == []
    assert day.lost == []
    assert day.doubled == []
    assert set(day.ran) == {one for one in due if one[1] <= day.now}
