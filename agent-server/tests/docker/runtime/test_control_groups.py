"""Control groups of the real kernel, in every version that this machine mounts.

In this tier because they need what Docker needs: root, and a kernel that lets it create groups.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ocmt_agent.memory.host import read_group_memory, read_host_memory
from ocmt_agent.memory.reclaim import drivers
from ocmt_agent.runtime.base import Whereabouts
from ocmt_agent.runtime.cgroup import CGROUP_ROOT, Cgroup, CgroupTree, probe
from ocmt_agent.runtime.processes import ProcessId, gone, identify, spawn
from ocmt_agent.runtime.spec import Limits
from ocmt_testing.agent_server.swap import some_swap

LIMITS = Limits(memory_mb=64, cpus=2.0, pids=4)
_BOMB = """
import os, signal
while True:
    try:
        os.fork() or signal.pause()
    except OSError:
        os._exit(7)
"""
ROOTS = [root for root in (CGROUP_ROOT, CGROUP_ROOT / "unified") if os.access(root, os.W_OK)]


@pytest.fixture(params=ROOTS, ids=str)
def tree(request: pytest.FixtureRequest) -> Iterator[CgroupTree]:
    tree = probe(f"ocmt-test-{os.getpid()}", root=request.param)
    assert tree.parents
    yield tree
    tree.remove()
    assert not any(parent.exists() for parent in tree.parents.values())


@pytest.fixture
def group(tree: CgroupTree) -> Iterator[Cgroup]:
    group = Cgroup(tree, "ada")
    group.make(LIMITS)
    yield group
    group.set_frozen(False)
    end_all(group)
    group.remove()


def end_all(group: Cgroup) -> None:
    while pids := group.pids():
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        os.sched_yield()


def start_inside(group: Cgroup, program: str) -> ProcessId:
    joins = "".join(f"echo $$ > {file}; " for file in group.join_files())
    process = spawn(
        ["/bin/sh", "-c", f'{joins}exec "$@"', "sh", sys.executable, "-c", program],
        environment={},
        output=2,
    )
    assert process is not None
    while process.state() is not None and not all(
        str(process.pid) in file.read_text().split() for file in group.join_files()
    ):
        os.sched_yield()
    return process


def used_s(group: Cgroup) -> float:
    used = group.cpu_seconds()
    assert used is not None
    return used


def test_frozen_means_no_cpu_at_all_and_thawed_means_it_goes_on(group: Cgroup) -> None:
    process = start_inside(group, "import os; os.fork()\nwhile True: pass")
    assert group.can_freeze(process.pid)
    assert not group.can_freeze(os.getpid())

    group.set_frozen(True)
    group.set_frozen(True)
    assert group.is_frozen()
    before = used_s(group)
    busy_until = os.times().user + 0.3
    while os.times().user < busy_until:
        pass
    assert used_s(group) == before

    group.set_frozen(False)
    assert not group.is_frozen()
    while used_s(group) <= before:
        pass


async def test_a_frozen_process_that_was_killed_ends_when_thawed(group: Cgroup) -> None:
    process = start_inside(group, "while True: pass")
    group.set_frozen(True)
    process.signal(signal.SIGKILL)
    group.set_frozen(False)

    assert await gone([process], within_s=5)
    assert await process.ended() == -signal.SIGKILL


def test_a_group_left_frozen_is_thawed_for_the_next_process(group: Cgroup) -> None:
    first = start_inside(group, "while True: pass")
    group.set_frozen(True)
    group.make(LIMITS)
    assert not group.is_frozen()
    assert identify(first.pid) == first


async def test_an_agent_that_wants_more_memory_than_its_limit_is_killed_and_it_shows(
    tmp_path: Path,
) -> None:
    tree = probe(f"ocmt-test-{os.getpid()}")
    assert tree.limits_memory
    group = Cgroup(tree, "ada")
    group.make(LIMITS)
    try:
        assert not group.out_of_memory()
        greedy = start_inside(group, "x = b'x' * (1 << 30)")
        assert await greedy.ended() == -signal.SIGKILL
        assert group.out_of_memory()
    finally:
        group.remove()
        tree.remove()


async def test_an_agent_cannot_start_more_processes_than_its_limit() -> None:
    tree = probe(f"ocmt-test-{os.getpid()}")
    group = Cgroup(tree, "ada")
    group.make(LIMITS)
    try:
        bomber = start_inside(group, _BOMB)
        assert await bomber.ended() == 7
        assert len(group.pids()) == LIMITS.pids - 1
    finally:
        end_all(group)
        group.remove()
        tree.remove()


HOLDS = """
import sys
held = bytearray({mb} << 20)
held[::4096] = bytes([1]) * len(held[::4096])
print("held", flush=True)
sys.stdin.read()
"""


def start_holding(group: Cgroup, mb: int) -> subprocess.Popen[bytes]:
    joins = "".join(f"echo $$ > {file}; " for file in group.join_files())
    return subprocess.Popen(
        ["/bin/sh", "-c", f'{joins}exec "$@"', "sh", sys.executable, "-c", HOLDS.format(mb=mb)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def held(process: subprocess.Popen[bytes]) -> bool:
    """Whether it could allocate all its memory; otherwise the kernel killed it."""
    assert process.stdout is not None
    return process.stdout.readline() == b"held\n"


async def test_a_sleeper_s_memory_fits_into_swap_and_no_agent_takes_the_others_share(
    tmp_path: Path,
) -> None:
    tree = probe(f"ocmt-test-{os.getpid()}")
    group = Cgroup(tree, "ada")
    group.make(LIMITS)
    group.make(Limits(memory_mb=32, cpus=2.0, pids=4))
    group.make(LIMITS)  # limits that were changed, both ways
    memory = group.memory_folder()
    assert memory is not None
    sleepers = []
    try:
        with some_swap(tmp_path):
            # Up to twice its memory, awake and asleep, and no more.
            for mb, fits in ((50, True), (100, True), (200, False), (1000, False)):
                sleepers.append(start_holding(group, mb))
                assert held(sleepers[-1]) == fits, mb
                if mb == 50:
                    leader = identify(sleepers[-1].pid)
                    assert leader is not None
                    with ThreadPoolExecutor() as executor:
                        await drivers()[0].reclaim(
                            Whereabouts(leader, memory, group.pids), executor
                        )
                    seen = read_group_memory(memory, read_host_memory())
                    assert seen is not None
                    assert seen.swap > 48 << 20
                sleepers[-1].kill()
                sleepers[-1].communicate()
    finally:
        for sleeper in sleepers:
            sleeper.kill()
            sleeper.communicate()
        group.remove()
        tree.remove()


def test_swap_is_bounded_by_both_versions_of_the_kernel_s_files(tmp_path: Path) -> None:
    bytes_ = 64 << 20
    for version in ("v1", "v2"):
        (tmp_path / version).mkdir()
    v1 = Cgroup(CgroupTree({"memory": tmp_path / "v1"}), "ada")
    v2 = Cgroup(CgroupTree({"": tmp_path / "v2"}), "ada")
    v1.make(LIMITS)
    with contextlib.suppress(FileNotFoundError, TimeoutError):  # there is nothing to thaw
        v2.make(LIMITS)
    read = {
        name: (tmp_path / name).read_text()
        for name in ("v1/ada/memory.memsw.limit_in_bytes", "v2/ada/memory.swap.max")
    }
    assert read == {
        "v1/ada/memory.memsw.limit_in_bytes": str(2 * bytes_),
        "v2/ada/memory.swap.max": str(bytes_),
    }
