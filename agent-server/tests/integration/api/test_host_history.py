"""The last day of a host: its memory, wakes and refusals, for admins."""

from pathlib import Path

import pytest
from ocmt_agent.decisions.memory_admission import HostFigures
from ocmt_common.agent_api import HibernationState as S
from ocmt_common.problems import Problem
from ocmt_testing.agent_server.host import Host, open_host

GIB = 1024**3


async def day(host: Host) -> dict[str, list[dict[str, object]]]:
    answer = await host.client.get("/api/host")
    assert answer.status_code == 200, answer.text
    found: dict[str, list[dict[str, object]]] = answer.json()
    return found


async def test_wakes_of_the_last_day_have_their_state_before_and_their_time(
    tmp_path: Path,
) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        await host.orders.hibernate("ada", "stop")
        await host.client.post("/api/containers/ada/wake")
        host.clock.advance(hours=25)
        for mode in ("pause", "stop"):
            await host.orders.hibernate("ada", "pause" if mode == "pause" else "stop")
            await host.client.post("/api/containers/ada/wake")
        await host.parts.registry.flush()
        wakes = (await day(host))["wakes"]
        assert [one["fromState"] for one in wakes] == ["paused", "stopped"]
        assert {one["userId"] for one in wakes} == {"ada"}


async def test_a_refused_wake_is_kept_with_its_reason_for_a_day(tmp_path: Path) -> None:
    full = HostFigures(total=8 * GIB, available=0, swap_total=0, swap_free=0, stalled=None)
    async with open_host(tmp_path, figures=full) as host:
        host.room.figures = None
        await host.provision()
        await host.orders.hibernate("ada", "stop")
        host.room.figures = full
        with pytest.raises(Problem):
            await host.wakes.awake("ada", kind=host.parts.registry.get("ada").last_activity_kind)
        [refused] = (await day(host))["refused"]
        assert (refused["userId"], refused["why"]) == ("ada", "memory")
        assert host.state() is S.STOPPED
        host.clock.advance(hours=24, seconds=1)
        assert (await day(host))["refused"] == []


async def test_samples_count_the_agents_and_are_bounded(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        for _ in range(1500):
            host.clock.advance(minutes=1)
            host.parts.host.sample()
        samples = (await day(host))["samples"]
        assert len(samples) == 24 * 60
        assert samples[-1]["agents"] == {
            "running": 1, "paused": 0, "stopped": 0, "provisioning": 0, "waking": 0, "failed": 0,
        }  # fmt: skip
