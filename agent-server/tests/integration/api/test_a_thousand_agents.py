"""The cost of a thousand agents when nothing changes: one query of the runtime."""

from datetime import timedelta
from pathlib import Path

from ocmt_agent.records.agent import Agent
from ocmt_agent.runtime.base import ContainerStatus
from ocmt_common.agent_api import HibernationState as S
from ocmt_testing.agent_server.fake_runtime import FakeContainer
from ocmt_testing.agent_server.host import Host, open_host

SHOWN = {
    S.RUNNING: ContainerStatus.RUNNING,
    S.PAUSED: ContainerStatus.PAUSED,
    S.STOPPED: ContainerStatus.EXITED,
}


def know(host: Host, number: int) -> None:
    """Agents as read from the database: nine in ten sleep, every third has a coming job."""
    now = host.clock.now()
    state = (S.RUNNING, S.STOPPED, *[S.PAUSED] * 8)[number % 10]
    agent = Agent.new(f"u{number:04}", agent_token="t" * 32, now=now)
    agent.state = state
    if number % 3 == 0:
        agent.next_job_at = now + timedelta(hours=1 + number % 7)
    host.parts.registry.reserve(agent)
    container = FakeContainer(agent.spec())
    container.status = SHOWN[state]
    host.runtime.containers[agent.user_id] = container


async def test_a_sweep_of_a_thousand_unchanged_agents_queries_the_runtime_once(
    tmp_path: Path,
) -> None:
    async with open_host(tmp_path) as host:
        for number in range(1000):
            know(host, number)
        host.runtime.calls.clear()
        for _ in range(3):
            host.clock.advance(minutes=1)
            await host.sweep()
        assert host.runtime.calls == {"observe_all": 3}
        assert not host.gateway.calls


async def test_a_thousand_agents_are_listed_from_memory_with_all_their_fields(
    tmp_path: Path,
) -> None:
    async with open_host(tmp_path) as host:
        for number in range(1000):
            know(host, number)
        host.runtime.calls.clear()
        answer = await host.client.get("/api/containers")
        assert answer.headers["content-type"] == "application/json"
        listed = answer.json()
        assert len(listed) == 1000
        one = (await host.client.get("/api/containers/u0003")).json()
        assert listed[3] == one
        assert one["nextWakeAt"] is not None
        assert one["because"].startswith("Paused for 0 s")
        assert not host.runtime.calls
