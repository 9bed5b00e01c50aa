"""An agent's memory while it sleeps, through the whole server, on a simulated kernel."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from ocmt_agent.decisions.activity import ActivityKind
from ocmt_agent.memory.manager import MemoryManager
from ocmt_agent.memory.ranges import PAGE, Range
from ocmt_agent.memory.working_set import WorkingSet
from ocmt_agent.memory.working_set_store import Learned, WorkingSetStore
from ocmt_common.agent_api import HibernationState as S
from ocmt_common.agent_api import PausedMemory
from ocmt_testing.agent_server.fake_control import FakeControl
from ocmt_testing.agent_server.fake_memory import MB, FakeMemory
from ocmt_testing.agent_server.fake_runtime import FakeRuntime
from ocmt_testing.agent_server.host import Host, open_host


@pytest.fixture
def memory(tmp_path: Path) -> FakeMemory:
    return FakeMemory(tmp_path / "group")


@asynccontextmanager
async def host_with(
    tmp_path: Path, memory: FakeMemory, *, runtime: FakeRuntime | None = None
) -> AsyncIterator[Host]:
    runtime = runtime or FakeRuntime()
    runtime.kernel["ada"] = memory.where()
    memory_manager = partial(MemoryManager, found=[memory], host=memory.host)
    gateway = FakeControl(runtime)
    async with open_host(
        tmp_path, runtime=runtime, gateway=gateway, memory_manager=memory_manager
    ) as host:
        yield host


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 (what it waits for has no event)
            await asyncio.sleep(0.01)


async def shown(host: Host) -> dict[str, object]:
    answer = await host.client.get("/api/containers/ada")
    return dict(answer.json())


async def test_a_paused_agent_s_memory_is_given_back_and_the_api_shows_it(
    tmp_path: Path, memory: FakeMemory
) -> None:
    async with host_with(tmp_path, memory) as host:
        agent = await host.provision()
        assert (await shown(host))["pausedMemory"] is None
        await host.fall_asleep()
        await until(lambda: agent.paused_memory is PausedMemory.RECLAIMED)

        container = await shown(host)
        assert container["pausedMemory"] == "reclaimed"
        assert container["memory"] == {
            "usage": 2 * MB,
            "anon": 2 * MB,
            "cache": 0,
            "swap": 898 * MB,
            "compressed": 0,
        }
        await host.wakes.awake("ada", kind=ActivityKind.HTTP)
        assert (await shown(host))["pausedMemory"] is None


async def test_pages_that_a_busy_disk_had_not_written_are_reclaimed_in_another_round(
    tmp_path: Path, memory: FakeMemory
) -> None:
    async with host_with(tmp_path, memory) as host:
        agent = await host.provision()
        memory.left = [400, 30]
        await host.fall_asleep()
        await until(lambda: agent.paused_memory is PausedMemory.RECLAIMED)
        assert agent.memory is not None
        assert (memory.reclaims, agent.memory.anon) == (2, 30 * MB)


@pytest.mark.parametrize(
    "left", [[900, 2], [900, 116, 2], [116, 116, 30]], ids=["nothing", "little", "some"]
)
async def test_a_reclaim_that_left_memory_is_tried_again_in_the_same_sleep(
    tmp_path: Path, memory: FakeMemory, left: list[int]
) -> None:
    async with host_with(tmp_path, memory) as host:
        agent = await host.provision()
        memory.left = left
        await host.fall_asleep()
        await until(lambda: memory.reclaims > 0 and not host.parts.memory._tasks)
        assert agent.paused_memory is PausedMemory.RESIDENT
        tried = memory.reclaims
        await host.parts.memory.look()
        assert not host.parts.memory._tasks, "tried again at once"
        while host.paused_memory() is PausedMemory.RESIDENT:
            host.clock.advance(minutes=5)
            await host.parts.memory.look()
            await until(lambda: not host.parts.memory._tasks)
        assert memory.reclaims > tried
        shown = (await host.client.get("/api/containers/ada/events")).json()["events"]
        moved = [event for event in shown if event["why"] == "memory given back"]
        assert moved[-1]["memoryAfterBytes"] < 100 * MB
        assert all(one["memoryAfterBytes"] < one["memoryBeforeBytes"] for one in moved)
        # The next sleep is not held to the waits of this one.
        await host.wakes.awake("ada", kind=ActivityKind.HTTP)
        memory.set(anon=900, swap=0)
        tried = memory.reclaims
        await host.fall_asleep()
        await until(lambda: memory.reclaims > tried)


async def test_an_agent_that_ran_for_a_moment_is_reclaimed_whatever_is_in_swap(
    tmp_path: Path, memory: FakeMemory
) -> None:
    async with host_with(tmp_path, memory) as host:
        agent = await host.provision()
        memory.set(anon=117, swap=800)
        await host.orders.hibernate("ada", "pause")
        await until(lambda: host.paused_memory() is PausedMemory.RECLAIMED)
        assert agent.memory is not None
        assert agent.memory.anon == 2 * MB


async def test_the_metrics_count_the_sleepers_by_where_their_memory_is(
    tmp_path: Path, memory: FakeMemory
) -> None:
    async with host_with(tmp_path, memory) as host:

        async def sleepers() -> dict[str, float]:
            text = (await host.client.get("/metrics")).text
            return {
                kind: float(text.split(f'ocmt_sleeping_agents{{memory="{kind}"}} ')[1].split()[0])
                for kind in ("resident", "reclaimed", "unmeasured")
            }

        await host.provision()
        await host.provision("ben")  # not visible to the server
        assert await sleepers() == {"resident": 0, "reclaimed": 0, "unmeasured": 0}
        memory.held = asyncio.Event()
        for user in ("ada", "ben"):
            await host.orders.hibernate(user, "pause")
        await memory.begun.wait()
        assert await sleepers() == {"resident": 1, "reclaimed": 0, "unmeasured": 1}
        memory.held.set()
        await until(lambda: host.paused_memory() is PausedMemory.RECLAIMED)
        assert await sleepers() == {"resident": 0, "reclaimed": 1, "unmeasured": 1}


async def test_health_says_how_long_sleepers_stay(tmp_path: Path, memory: FakeMemory) -> None:
    async def shown(host: Host) -> tuple[int | None, int | None]:
        health = (await host.client.get("/health")).json()["memory"]
        return health["stopAfterMs"], health["swapReserve"]

    async with host_with(tmp_path, memory) as host:
        assert await shown(host) == (None, 2 << 30)
        memory.has_swap = False
        assert await shown(host) == (14_400_000, None)


async def test_a_pause_does_not_wait_for_the_memory_and_a_wake_goes_first(
    tmp_path: Path, memory: FakeMemory
) -> None:
    async with host_with(tmp_path, memory) as host:
        agent = await host.provision()
        memory.held = asyncio.Event()  # never set: this reclaim would take for ever
        await host.fall_asleep()
        assert host.state() is S.PAUSED
        await memory.begun.wait()
        assert agent.paused_memory is PausedMemory.RESIDENT

        thaw = host.runtime.hold("unpause")
        waking = asyncio.create_task(host.wakes.awake("ada", kind=ActivityKind.HTTP))
        await thaw.reached.wait()
        await until(lambda: memory.cancelled == 1)  # before the thaw, not once it answers
        thaw.open()
        await waking
        assert host.state() is S.RUNNING

        # The next sleep begins anew.
        memory.held = None
        await host.fall_asleep()
        await until(lambda: agent.paused_memory is PausedMemory.RECLAIMED)


async def test_the_memory_manager_is_notified_when_an_answer_is_complete(
    tmp_path: Path, memory: FakeMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(MemoryManager, "answered", lambda _, agent: told.append(agent.user_id))
    async with host_with(tmp_path, memory) as host:
        await host.provision()
        with pytest.raises(ConnectionError):
            async with host.wakes.using("ada", kind=ActivityKind.HTTP):
                raise ConnectionError
        assert told == []
        async with host.wakes.using("ada", kind=ActivityKind.HTTP):
            assert told == []
        assert told == ["ada"]


async def test_a_working_set_outlives_the_server_but_not_the_gateway(
    tmp_path: Path, memory: FakeMemory
) -> None:
    runtime, leader = FakeRuntime(), memory.where().leader
    async with host_with(tmp_path, memory, runtime=runtime) as host:
        agent = await host.provision()
        await host.fall_asleep()
        await until(lambda: agent.paused_memory is PausedMemory.RECLAIMED)
        folder = host.parts.settings.data_dir / "working-sets"

    def wakes_on_file() -> int:
        found = WorkingSetStore(folder).load("ada", leader)
        return 0 if found is None else found.wakes

    known = {leader: [Range(16 * PAGE, 17 * PAGE)]}
    learned = Learned(leader, WorkingSet(known, {}), None, known, wakes=3)
    WorkingSetStore(folder).save("ada", learned, wanted=lambda: True)

    async with host_with(tmp_path, memory, runtime=runtime) as host:
        agent = host.parts.registry.get("ada")
        await host.parts.memory.look()
        await until(lambda: agent.paused_memory is PausedMemory.RECLAIMED)
        await host.wakes.awake("ada", kind=ActivityKind.HTTP)
        memory.set(anon=900, swap=0)
        await host.fall_asleep()
        await until(lambda: memory.reclaims == 2 and agent.paused_memory is PausedMemory.RECLAIMED)
        await until(lambda: wakes_on_file() == 4)
        found = WorkingSetStore(folder).load("ada", leader)
        assert found is not None
        assert list(found.working_set.first[leader]) == known[leader]
        await host.orders.hibernate("ada", "stop")
        assert not (folder / "ada").exists()


async def test_without_swap_nothing_is_reclaimed_and_health_says_what_is_missing(
    tmp_path: Path, memory: FakeMemory
) -> None:
    async with host_with(tmp_path, memory) as host:
        memory.has_swap = False
        agent = await host.provision()
        await host.fall_asleep()
        await until(lambda: agent.paused_memory is PausedMemory.RESIDENT)
        assert memory.reclaims == 0

        health = (await host.client.get("/health")).json()["memory"]
        assert health["reclaim"] == "fake"
        assert (health["swapDisk"], health["zram"], health["psi"]) == (False, False, True)
        assert any("no swap" in sentence for sentence in health["advice"])
        assert health["host"]["total"] == 8 << 30

        # New swap is used for agents that already sleep.
        memory.has_swap = True
        await host.parts.memory.look()
        await until(lambda: agent.paused_memory is PausedMemory.RECLAIMED)
        await host.parts.memory.look()
        assert memory.reclaims == 1


async def test_an_agent_found_paused_after_a_restart_is_measured_not_remembered(
    tmp_path: Path, memory: FakeMemory
) -> None:
    runtime = FakeRuntime()
    async with host_with(tmp_path, memory, runtime=runtime) as host:
        agent = await host.provision()
        await host.fall_asleep()
        await until(lambda: agent.paused_memory is PausedMemory.RECLAIMED)
    async with host_with(tmp_path, memory, runtime=runtime) as host:
        agent = host.parts.registry.get("ada")
        assert agent.paused_memory is None
        await host.parts.memory.look()
        await until(lambda: agent.paused_memory is PausedMemory.RECLAIMED)
        assert memory.reclaims == 1
    memory.set(anon=900, swap=0)  # killed before it had begun
    async with host_with(tmp_path, memory, runtime=runtime) as host:
        await host.parts.memory.look()
        agent = host.parts.registry.get("ada")
        await until(lambda: agent.paused_memory is PausedMemory.RECLAIMED)
        assert memory.reclaims == 2


async def test_an_agent_out_of_our_sight_costs_one_question_a_transition(
    tmp_path: Path, memory: FakeMemory
) -> None:
    async with host_with(tmp_path, memory) as host:
        host.runtime.kernel.clear()
        agent = await host.provision()
        await host.fall_asleep()
        await until(lambda: host.runtime.calls["whereabouts"] > 0)
        asked = host.runtime.calls["whereabouts"]
        for _ in range(5):
            await host.parts.memory.look()
            await asyncio.sleep(0)
        assert host.runtime.calls["whereabouts"] == asked
        assert agent.paused_memory is None
        await host.wakes.awake("ada", kind=ActivityKind.HTTP)
        assert agent.state is S.RUNNING


async def test_a_stopped_agent_has_no_memory(tmp_path: Path, memory: FakeMemory) -> None:
    async with host_with(tmp_path, memory) as host:
        agent = await host.provision()
        memory.held = asyncio.Event()
        await host.fall_asleep()
        await memory.begun.wait()
        await host.orders.hibernate("ada", "stop")
        await until(lambda: memory.cancelled == 1)
        assert (agent.memory, agent.paused_memory) == (None, None)


async def test_a_sweep_skips_an_agent_that_is_being_stopped(
    tmp_path: Path, memory: FakeMemory
) -> None:
    async with host_with(tmp_path, memory) as host:
        agent = await host.provision()
        await host.fall_asleep()
        await until(lambda: agent.paused_memory is PausedMemory.RECLAIMED)
        memory.set(anon=900, swap=0)
        gate = host.runtime.hold("stop")
        stopping = asyncio.create_task(host.orders.hibernate("ada", "stop"))
        await gate.reached.wait()
        await host.parts.memory.look()
        await asyncio.gather(*host.parts.memory._tasks, return_exceptions=True)
        assert (agent.memory, agent.paused_memory, memory.reclaims) == (None, None, 1)
        gate.open()
        await stopping
        assert agent.state is S.STOPPED


async def test_an_awake_agent_is_measured_by_the_look(tmp_path: Path, memory: FakeMemory) -> None:
    async with host_with(tmp_path, memory) as host:
        agent = await host.provision()
        memory.set(anon=700, swap=10)
        await host.parts.memory.look()
        assert agent.memory is not None
        assert (agent.memory.anon, agent.memory.swap) == (700 * MB, 10 * MB)
