"""The memory drivers on the real kernel: a process is moved out of RAM and back.

In this tier because they need what Docker needs: root, and control groups that can be created.
"""

import asyncio
import contextlib
import itertools
import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from ocmt_agent.memory import prefetch, syscalls
from ocmt_agent.memory.host import (
    HostMemory,
    Pressure,
    read_agent_memory,
    read_host_memory,
)
from ocmt_agent.memory.manager import MemoryManager
from ocmt_agent.memory.page_sets import Pages, size, together
from ocmt_agent.memory.pages import (
    advise,
    bring_in,
    page_out,
    pages_anywhere,
    resident_pages,
    turns,
)
from ocmt_agent.memory.prefetch import Prefetcher
from ocmt_agent.memory.ranges import PAGE, Range, mapped, merged, size_of
from ocmt_agent.memory.reclaim import Driver, drivers
from ocmt_agent.memory.syscalls import Advice, Kept, fault_in, own_pages
from ocmt_agent.memory.working_set import WorkingSet
from ocmt_agent.records.agent_memory import AgentMemory
from ocmt_agent.runtime.base import Whereabouts
from ocmt_agent.runtime.cgroup import Cgroup, probe
from ocmt_agent.runtime.processes import ProcessId, identify, spawn
from ocmt_agent.runtime.spec import Limits
from ocmt_common.agent_api import PausedMemory
from ocmt_testing.agent_server.fake_runtime import FakeRuntime
from ocmt_testing.agent_server.host import open_host
from ocmt_testing.agent_server.swap import some_swap

MB = 1 << 20
_HELD = 128 * MB
_HOLDER = f"""
import mmap, os, signal, sys
held, count = mmap.mmap(-1, {_HELD}, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), {_HELD // PAGE}
held.madvise(mmap.MADV_NOHUGEPAGE)
for turn in range(count):  # in an order that is not that of the addresses
    start = turn * 7919 % count * {PAGE}
    held[start : start + {PAGE}] = os.urandom({PAGE})
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
open(sys.argv[1], "w").close()
signal.sigwait([signal.SIGUSR1])
sum(held[page * {PAGE}] for page in range(count))
os._exit(3)
"""
DRIVERS = drivers()


@pytest.fixture(scope="module", autouse=True)
def swap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with some_swap(tmp_path_factory.mktemp("swap")):
        yield


@pytest.fixture
def group() -> Iterator[Cgroup]:
    tree = probe(f"ocmt-test-{os.getpid()}")
    group = Cgroup(tree, "ada")
    group.make(Limits(memory_mb=1024, cpus=2.0, pids=8))
    yield group
    group.set_frozen(False)
    while pids := group.pids():
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        os.sched_yield()
    group.remove()
    tree.remove()


@pytest.fixture
def holder(group: Cgroup, tmp_path: Path) -> Whereabouts:
    """A frozen process in its own control group that holds 128 MB of anonymous memory."""
    joins = "".join(f"echo $$ > {file}; " for file in group.join_files())
    ready = tmp_path / "ready"
    process = spawn(
        ["/bin/sh", "-c", f'{joins}exec "$@"', "sh", sys.executable, "-c", _HOLDER, str(ready)],
        environment={},
        output=2,
    )
    assert process is not None
    while not ready.exists():
        os.sched_yield()
    group.set_frozen(True)
    return Whereabouts(process, group.memory_folder(), group.pids)


def measured(where: Whereabouts) -> AgentMemory:
    memory = read_agent_memory(where, read_host_memory())
    assert memory is not None
    return memory


async def take_out(driver: Driver, where: Whereabouts, executor: ThreadPoolExecutor) -> None:
    """Reclaim in rounds, as the server does: a disk needs a moment to write what it received."""
    held = measured(where).held
    while True:
        await driver.reclaim(where, executor)
        before, held = held, measured(where).held
        if before - held < MB:
            return
        await asyncio.sleep(1)


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as made:
        yield made


@pytest.mark.parametrize("driver", DRIVERS, ids=lambda driver: driver.name)
async def test_a_frozen_process_is_moved_out_of_ram_and_is_intact_when_thawed(
    driver: Driver, holder: Whereabouts, group: Cgroup, executor: ThreadPoolExecutor
) -> None:
    assert driver.fits(holder)
    before = measured(holder)
    assert before.anon >= _HELD
    await take_out(driver, holder, executor)

    after = measured(holder)
    assert after.anon < 0.2 * before.anon
    if driver.name != "process_madvise":  # which leaves what it wrote until the space is needed
        assert after.usage < 0.3 * before.usage
        assert after.swap > 0.8 * _HELD
    group.set_frozen(False)
    holder.leader.signal(signal.SIGUSR1)  # reads all it held
    assert await holder.leader.ended() == 3


async def test_recorded_pages_are_prefetched_and_do_not_count_as_used(
    holder: Whereabouts, executor: ThreadPoolExecutor
) -> None:
    recorded = resident_pages(holder)
    assert size(recorded) > 0.9 * _HELD
    await page_out(recorded, executor)
    await take_out(DRIVERS[0], holder, executor)
    assert size(resident_pages(holder)) < 0.2 * _HELD

    taken = measured(holder).usage
    for turn in turns(recorded, at_most=1 << 30):
        advise(*turn, Advice.WILLNEED)
    assert size(resident_pages(holder)) < 0.2 * _HELD  # in RAM again, but unused
    # On v1 and v2 alike, a page read ahead is charged to its group.
    assert measured(holder).usage > taken + 0.8 * _HELD


async def test_pages_are_brought_in_for_good_but_for_those_whose_use_is_to_show(
    holder: Whereabouts, executor: ThreadPoolExecutor
) -> None:
    recorded = resident_pages(holder)
    await page_out(recorded, executor)
    assert size(resident_pages(holder)) < 0.2 * _HELD
    turns_read: dict[bool, list[Pages]] = {True: [], False: []}
    leave = (2).__eq__
    async for turn, is_mapped in bring_in(recorded, executor, at_most=1 << 30, leave=leave):
        turns_read[is_mapped].append(turn)
    assert size(together([*turns_read[True], *turns_read[False]])) == size(recorded)
    only_read, now = together(turns_read[False]), resident_pages(holder)
    assert size(only_read) == 4 * MB
    assert size(now) > 0.9 * (size(recorded) - 4 * MB)
    assert size(together([now, only_read])) >= size(now) + 3.9 * MB
    assert size(pages_anywhere(holder)) >= size(recorded)


async def test_all_pages_of_an_unknown_agent_are_read_and_its_use_is_learned(
    holder: Whereabouts, executor: ThreadPoolExecutor
) -> None:
    await page_out(resident_pages(holder), executor)
    await take_out(DRIVERS[0], holder, executor)
    assert measured(holder).usage < 0.3 * _HELD
    prefetcher, awake = Prefetcher(), asyncio.Event()
    prefetcher.belongs_to(holder.leader)
    awake.set()
    back = partial(
        prefetcher.prefetch, holder, executor, awake=awake, answered=awake, slow=True, at_most=_HELD
    )
    await back(blindly=0, learns=False)
    assert measured(holder).usage < 0.3 * _HELD
    await back(blindly=2 * _HELD, learns=True)
    assert measured(holder).usage > 0.8 * _HELD
    assert size(resident_pages(holder)) < 0.2 * _HELD  # it used nothing of that yet
    used = Range.pieces(max(pages_anywhere(holder)[holder.leader], key=lambda one: one.size), MB)
    fault_in(holder.leader.pid, [next(used), next(used)])
    await prefetcher.note_use(holder, executor)
    assert prefetcher.working_set is not None
    assert 2 * MB <= prefetcher.working_set.size < 0.2 * _HELD

    # Known, and woken before it was laid out: it is not read as a whole again.
    await page_out(resident_pages(holder), executor)
    await take_out(DRIVERS[0], holder, executor)
    await back(blindly=2 * _HELD, learns=False)
    assert measured(holder).usage < 0.4 * _HELD

    # Laid out, and brought back from then on.
    await prefetcher.record_held(holder, executor)
    await prefetcher.lay_out(executor)
    await take_out(DRIVERS[0], holder, executor)
    await back(blindly=2 * _HELD, learns=True)
    assert (
        prefetcher.working_set.size <= size(resident_pages(holder)) + 4 * MB
    )  # one turn is only read
    assert measured(holder).usage < 0.4 * _HELD

    # In zram reads are not slow: just what is known is read, and nothing mapped.
    await page_out(resident_pages(holder), executor)
    await take_out(DRIVERS[0], holder, executor)
    await back(slow=False, blindly=0, learns=True)
    assert size(resident_pages(holder)) < 1 * MB


async def test_the_first_answer_shows_which_pages_are_needed_first(
    holder: Whereabouts, executor: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else is read meanwhile: the gateway's own reads would have to wait behind it."""
    monkeypatch.setattr(prefetch, "_ANSWERS_WITHIN_S", 60.0)
    leader = holder.leader
    whole = max(resident_pages(holder)[leader], key=lambda one: one.size)
    needed, rest = Range(whole.start, whole.start + 4 * MB), Range(whole.start + 4 * MB, whole.end)
    prefetcher, awake, answered = Prefetcher(), asyncio.Event(), asyncio.Event()
    prefetcher.belongs_to(leader)
    prefetcher.working_set = WorkingSet({}, {leader: [rest]})
    back = partial(
        prefetcher.prefetch,
        holder,
        executor,
        awake=awake,
        answered=answered,
        slow=True,
        at_most=2 * _HELD,
        blindly=0,
        learns=True,
    )
    await page_out(resident_pages(holder), executor)
    await take_out(DRIVERS[0], holder, executor)
    taken = measured(holder).usage
    coming = asyncio.create_task(back())
    awake.set()
    await asyncio.sleep(1)
    fault_in(leader.pid, [needed])
    assert measured(holder).usage < taken + 6 * MB
    answered.set()
    await coming
    assert measured(holder).usage > taken + 0.8 * rest.size
    await prefetcher.note_use(holder, executor)
    assert needed in merged(prefetcher.working_set.first[leader])

    # After two such wakes nothing waits for an answer.
    await back()
    answered.clear()
    await asyncio.wait_for(back(), 30)


async def test_faulting_in_frees_the_places_the_pages_had_and_writes_nothing(
    group: Cgroup, holder: Whereabouts, executor: ThreadPoolExecutor
) -> None:
    """Otherwise the next sleep would leave them scattered over the disk."""
    pid = holder.leader.pid
    held = max(resident_pages(holder)[holder.leader], key=lambda one: one.size)
    every_other = list(held.pieces(PAGE))[::2]

    def content() -> bytes:
        with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
            return os.pread(memory.fileno(), held.size, held.start)

    before = content()
    await page_out({holder.leader: [held]}, executor)  # that look counts as use: once is too little
    await take_out(DRIVERS[0], holder, executor)
    swap_before = measured(holder).swap
    fault_in(pid, every_other)
    assert places_on_disk(pid, every_other) == []
    assert measured(holder).swap < swap_before - 0.9 * size_of(every_other)
    assert content() == before
    fault_in(pid, [held, Range(1 << 46, (1 << 46) + PAGE)])  # in RAM already; not there at all
    assert content() == before
    group.set_frozen(False)
    holder.leader.signal(signal.SIGUSR1)
    assert await holder.leader.ended() == 3


def test_old_kernels_pages_are_read_one_by_one_with_the_same_result(
    holder: Whereabouts, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = holder.leader.pid
    areas = mapped(Path(f"/proc/{pid}/maps").read_text())
    at_once = own_pages(pid, areas, Kept.MAPPED)
    monkeypatch.setattr(syscalls, "_PAGEMAP_SCAN", 0xC06066FF)  # a call no kernel has
    assert own_pages(pid, areas, Kept.MAPPED) == at_once
    assert size_of(at_once) > 0.9 * _HELD


async def test_a_quiet_agent_under_pressure_keeps_just_what_its_next_answer_needs(
    holder: Whereabouts, group: Cgroup, tmp_path: Path
) -> None:
    group.set_frozen(False)
    runtime = FakeRuntime()
    runtime.kernel["ada"] = holder
    waiting = Pressure(some_avg10=50.0, some_avg60=0.0, full_avg10=0.0, full_avg60=0.0)

    def pressed() -> HostMemory:
        return replace(read_host_memory(), pressure=waiting)

    memory_manager = partial(MemoryManager, host=pressed)
    async with open_host(tmp_path, runtime=runtime, memory_manager=memory_manager) as host:
        await host.provision()
        agent = host.parts.registry.get("ada")
        await host.parts.memory.look()
        some: dict[ProcessId, list[Range]] = {}
        for process, ranges in turns(resident_pages(holder), at_most=_HELD // 3):
            some.setdefault(process, []).extend(ranges)
        host.parts.memory._tracked(agent).prefetcher.working_set = WorkingSet(some, {})
        await host.parts.memory.look()
        assert size(resident_pages(holder)) > 0.9 * _HELD  # it was active just now

        host.clock.advance(minutes=5)
        await host.parts.memory.look()
        async with asyncio.timeout(60):
            while size(resident_pages(holder)) > 0.5 * _HELD:  # noqa: ASYNC110 (no event of ours)
                await asyncio.sleep(0.05)
        assert size(resident_pages(holder)) > 0.2 * _HELD
    holder.leader.signal(signal.SIGUSR1)
    assert await holder.leader.ended() == 3


def places_on_disk(pid: int, ranges: list[Range]) -> list[int]:
    """The position in the swap of each page that is there, by the kernel's `pagemap.rst`."""
    found = []
    with Path(f"/proc/{pid}/pagemap").open("rb", buffering=0) as pagemap:
        for one in ranges:
            text = os.pread(pagemap.fileno(), one.size // PAGE * 8, one.start // PAGE * 8)
            found += [
                (entry & (1 << 55) - 1) >> 5
                for entry in memoryview(text).cast("Q")
                if entry >> 62 & 1
            ]
    return found


async def test_what_the_next_wake_fetches_lies_on_the_disk_in_the_order_it_is_fetched_in(
    holder: Whereabouts, tmp_path: Path
) -> None:
    """However it is scattered over the address space, and in whatever order the kernel reclaims."""
    runtime = FakeRuntime()
    runtime.kernel["ada"] = holder
    whole = [r for ranges in resident_pages(holder).values() for r in ranges]
    strewn = [piece for r in whole for piece in list(r.pieces(64 * PAGE))[::3]]
    async with open_host(tmp_path, runtime=runtime) as host:
        agent = await host.provision()
        memory = host.parts.memory
        await memory.look()
        memory._tracked(agent).prefetcher.working_set = WorkingSet({holder.leader: strewn}, {})
        await host.orders.hibernate("ada", "pause")
        async with asyncio.timeout(60):
            while agent.paused_memory is not PausedMemory.RECLAIMED:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        places = places_on_disk(holder.leader.pid, strewn)
        assert len(places) > 0.8 * size_of(strewn) // PAGE
        onward = sum(after == before + 1 for before, after in itertools.pairwise(places))
        assert onward > 0.9 * len(places)


async def test_a_process_that_ended_is_skipped(
    holder: Whereabouts, group: Cgroup, executor: ThreadPoolExecutor
) -> None:
    recorded = resident_pages(holder)
    holder.leader.signal(signal.SIGKILL)
    group.set_frozen(False)
    await holder.leader.ended()
    await page_out(recorded, executor)
    for driver in DRIVERS:
        await driver.reclaim(holder, executor)
    assert resident_pages(holder) == {}
    assert identify(holder.leader.pid) != holder.leader
