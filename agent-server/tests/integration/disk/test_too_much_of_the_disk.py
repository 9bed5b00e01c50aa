"""An agent fills the disk: its user is warned, it works on, and stopping it is the last resort."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from ocmt_agent.decisions import transition_reasons as reasons
from ocmt_agent.decisions.activity import ActivityKind
from ocmt_agent.decisions.disk_limit import DiskLimit, Room, Usage
from ocmt_agent.disk.manager import DiskManager
from ocmt_agent.disk.quota import FolderQuotas
from ocmt_common.agent_api import HibernationState as S
from ocmt_common.problems import Problem
from ocmt_testing.agent_server.host import Host, open_host

MB = 1 << 20
PLENTY = Room(10**12, 10**12, 10**6, 10**6)
SHORT = Room(10**12, 10**9, 10**6, 10**6)


@dataclass
class Disk:
    """Agents on a simulated disk, and the manager that measures them."""

    host: Host
    manager: DiskManager
    used_mb: dict[str, float] = field(default_factory=dict)
    room: Room = PLENTY
    measured: list[str] = field(default_factory=list)

    async def look(self, *, after_s: float = 61) -> None:
        self.host.clock.advance(seconds=after_s)
        await self.manager.look()

    async def shown(self, user_id: str = "ada") -> dict[str, object]:
        answer = (await self.host.client.get(f"/api/containers/{user_id}")).json()
        assert isinstance(answer, dict)
        return answer


@asynccontextmanager
async def disk_of(tmp_path: Path, *, quotas: FolderQuotas | None = None) -> AsyncIterator[Disk]:
    async with open_host(tmp_path) as host:

        async def measure(folder: Path, pids: Iterable[int]) -> Usage | None:
            disk.measured.append(folder.name)
            return Usage(int(disk.used_mb.get(folder.name, 1) * MB), 10)

        manager = DiskManager(
            host.runtime,
            host.parts.registry,
            root=tmp_path,
            limit=DiskLimit.of_mb(1000),
            stop=partial(host.parts.hibernation.sleeps.force_stop, why=reasons.DISK_FULL),
            clock=host.clock,
            measure=measure,
            room_on=lambda _: disk.room,
            quotas=quotas,
        )
        disk = Disk(host, manager)
        yield disk


async def test_what_an_agent_takes_is_shown(tmp_path: Path) -> None:
    async with disk_of(tmp_path) as disk:
        await disk.host.provision()
        assert (await disk.shown())["disk"] is None
        disk.used_mb["ada"] = 250
        await disk.look()
        shown = await disk.shown()
        assert shown["disk"] == {
            "bytes": 250 * MB, "files": 10, "limitBytes": 1000 * MB, "limitFiles": 64_000,
        }  # fmt: skip
        assert shown["warning"] is None


async def test_a_nearly_full_or_overfull_agent_is_warned_and_keeps_working(tmp_path: Path) -> None:
    async with disk_of(tmp_path) as disk:
        await disk.host.provision()
        for used_mb, words in ((950, "more than 90 %"), (1900, "more than the 0.977 GB")):
            disk.used_mb["ada"] = used_mb
            await disk.look()
            shown = await disk.shown()
            assert words in str(shown["warning"])
            assert words in str(shown["because"])
            assert shown["hibernationState"] == "running"
        events = (await disk.host.client.get("/api/containers/ada/events")).json()["events"]
        assert [bool(event["warning"]) for event in events[-2:]] == [True, True]
        await disk.look()  # nothing new is no news
        again = (await disk.host.client.get("/api/containers/ada/events")).json()["events"]
        assert len(again) == len(events)

        disk.used_mb["ada"] = 10
        await disk.look()
        assert (await disk.shown())["warning"] is None


@pytest.mark.parametrize("asleep", [False, True])
async def test_at_twice_its_limit_it_is_stopped_until_there_is_room(
    tmp_path: Path, asleep: bool
) -> None:
    async with disk_of(tmp_path) as disk:
        await disk.host.provision()
        if asleep:
            await disk.host.fall_asleep()
        disk.used_mb["ada"] = 2000
        await disk.look()
        assert disk.host.state() is S.STOPPED
        wake = await disk.host.client.post("/api/containers/ada/wake")
        assert (wake.status_code, wake.json()["code"]) == (507, "agent-disk-full")
        assert "AGENT_DISK_MB" in wake.json()["detail"]
        restart = await disk.host.client.post("/api/containers/ada/restart")
        assert restart.status_code == 507
        assert disk.host.state() is S.STOPPED

        disk.used_mb["ada"] = 1500  # the operator made some room; its user can make more
        await disk.look()
        assert (await disk.host.client.post("/api/containers/ada/wake")).status_code == 200
        assert disk.host.state() is S.RUNNING


async def test_on_a_host_that_is_nearly_full_those_that_are_over_are_stopped(
    tmp_path: Path,
) -> None:
    async with disk_of(tmp_path) as disk:
        for user_id, used_mb in (("ada", 1100), ("ben", 990), ("cam", 10)):
            await disk.host.provision(user_id)
            disk.used_mb[user_id] = used_mb
        await disk.look()
        disk.room = SHORT
        await disk.look(after_s=1)  # at once: the disk would be full in a minute
        states = {user: disk.host.state(user) for user in ("ada", "ben", "cam")}
        assert states == {"ada": S.STOPPED, "ben": S.RUNNING, "cam": S.RUNNING}
        disk.room = PLENTY
        await disk.look()
        await disk.host.wakes.awake("ada", kind=ActivityKind.HTTP)
        assert disk.host.state("ada") is S.RUNNING


async def test_a_sleeping_agent_is_measured_once_and_an_awake_one_each_minute(
    tmp_path: Path,
) -> None:
    async with disk_of(tmp_path) as disk:
        await disk.host.provision("ada")
        await disk.host.provision("ben")
        await disk.host.fall_asleep("ben")
        await disk.host.wakes.awake("ada", kind=ActivityKind.HTTP)
        disk.measured.clear()
        for _ in range(5):
            await disk.look(after_s=30)
        assert disk.measured.count("ben") == 1
        assert 2 <= disk.measured.count("ada") <= 3


async def test_an_agent_that_cannot_be_stopped_now_is_stopped_later(tmp_path: Path) -> None:
    async with disk_of(tmp_path) as disk:
        await disk.host.provision()
        disk.used_mb["ada"] = 5000
        disk.host.runtime.down = "Docker does not answer."
        await disk.look()
        assert disk.host.state() is S.RUNNING
        disk.host.runtime.down = None
        await disk.look()
        assert disk.host.state() is S.STOPPED
        with pytest.raises(Problem, match="AGENT_DISK_MB"):
            await disk.host.orders.restart("ada")


class KernelQuotas(FolderQuotas):
    """A file system with quotas, or one that rejects them."""

    def __init__(self, folder: Path, *, refuses: bool) -> None:
        super().__init__(folder)
        self.on = True
        self.refuses = refuses
        self.asked: list[int] = []

    def usage(self, uid: int, limit: DiskLimit) -> Usage:
        self.asked.append(uid)
        if self.refuses:
            raise PermissionError("Operation not permitted")
        return Usage(limit.bytes, 10)


@pytest.mark.parametrize(("owner", "refuses"), [(0, False), (0, True), (1, False)])
async def test_the_file_system_s_own_quota_is_used_for_files_that_are_the_agent_s_alone(
    tmp_path: Path, owner: int, refuses: bool
) -> None:
    quotas = KernelQuotas(tmp_path, refuses=refuses)
    async with disk_of(tmp_path, quotas=quotas) as disk:
        agent = await disk.host.provision()
        state = tmp_path / "agents" / "ada" / "state"
        state.mkdir(parents=True)
        disk.host.runtime.root = tmp_path / "agents"
        uid = state.stat().st_uid + owner  # an older release's owner, if it is another
        disk.host.runtime.first_uid = uid - agent.number
        disk.used_mb["ada"] = 10
        for _ in range(2):
            await disk.look()
        shown = await disk.shown()
        counted = owner != 0 or refuses
        assert shown["disk"]["bytes"] == (10 if counted else 1000) * MB  # type: ignore[index]
        assert bool(disk.measured) == counted
        assert len(quotas.asked) == (0 if owner else 1 if refuses else 2)
