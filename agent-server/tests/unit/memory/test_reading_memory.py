"""Host and agent memory, read from trees like those of both cgroup versions' kernels."""

from dataclasses import replace
from pathlib import Path

import pytest
from ocmt_agent.decisions.memory_admission import HostFigures
from ocmt_agent.memory.admission_figures import host_figures
from ocmt_agent.memory.host import (
    Pressure,
    SwapKind,
    read_group_memory,
    read_host_memory,
    read_processes_memory,
)
from ocmt_agent.records.agent_memory import AgentMemory
from ocmt_agent.runtime.docker_memory import memory_folder

MEMINFO = """MemTotal:       24684084 kB
MemFree:        22084004 kB
MemAvailable:   24105820 kB
SwapTotal:       2000000 kB
SwapFree:        1000000 kB
Zswap:                10 kB
Zswapped:             30 kB
HugePages_Total:       0
"""
SWAPS = """Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority
/swap file                              file\t\t1000000\t\t600000\t\t-2
/dev/zram0                              partition\t1000000\t\t200000\t\t5
"""
PRESSURE = """some avg10=12.50 avg60=3.00 avg300=0.10 total=3353
full avg10=4.00 avg60=1.25 avg300=0.00 total=987
"""


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def full_host(root: Path) -> Path:
    return tree(
        root,
        {
            "proc/meminfo": MEMINFO,
            "proc/swaps": SWAPS,
            "proc/pressure/memory": PRESSURE,
            "sys/module/zswap/parameters/enabled": "Y\n",
            "sys/block/zram0/mm_stat": "204800000 70000000 80000000 0 80000000 9 0 0 0\n",
            "sys/block/zram1/mm_stat": "0 0 0 0 0 0 0 0 0\n",
            "sys/block/vda/stat": "1 2 3\n",
        },
    )


def test_admission_reads_just_what_it_decides_by(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    figures = HostFigures(
        total=24684084 * 1024,
        available=24105820 * 1024,
        swap_total=2_000_000 * 1024,
        swap_free=1_000_000 * 1024,
        stalled=4.0,
        swap_disk=1_000_000 * 1024,
    )
    assert host_figures(full_host(tmp_path / "full")) == figures
    unmeasured = tree(tmp_path / "bare", {"proc/meminfo": MEMINFO})
    assert host_figures(unmeasured) == replace(figures, stalled=None, swap_disk=0)
    assert host_figures(tmp_path / "none") is None


def test_a_host_with_disk_swap_zram_zswap_and_psi(tmp_path: Path) -> None:
    host = read_host_memory(full_host(tmp_path))

    assert host.total == 24684084 * 1024
    assert host.available == 24105820 * 1024
    assert [(area.name, area.kind) for area in host.swaps] == [
        ("/swap file", SwapKind.DISK),
        ("/dev/zram0", SwapKind.ZRAM),
    ]
    assert host.swap_size() == 2_000_000 * 1024
    assert host.swap_free() == 1_200_000 * 1024
    assert host.swap_free(SwapKind.DISK) == 400_000 * 1024
    assert (host.zram.stored, host.zram.ram) == (204_800_000, 80_000_000)
    assert host.zswap.enabled
    assert (host.zswap.stored, host.zswap.ram) == (30 * 1024, 10 * 1024)
    assert host.pressure == Pressure(12.5, 3.0, 4.0, 1.25)


def test_a_host_that_has_none_of_it(tmp_path: Path) -> None:
    host = read_host_memory(
        tree(tmp_path, {"proc/meminfo": "MemTotal: 8 kB\nMemAvailable: 4 kB\n"})
    )
    assert host.swaps == ()
    assert host.swap_size() == 0
    assert not host.zswap.enabled
    assert host.pressure is None
    assert host.in_zram(1000) == 0


def test_this_very_host_can_be_read() -> None:
    host = read_host_memory()
    assert 0 < host.available < host.total


def test_what_is_swapped_to_zram_still_costs_its_compressed_size(tmp_path: Path) -> None:
    host = read_host_memory(full_host(tmp_path))
    # A quarter of all swapped memory is in zram, at 80/204.8 of its size.
    assert host.in_zram(1_000_000) == int(1_000_000 * 0.25 * 80 / 204.8)


def test_a_group_of_v1(tmp_path: Path) -> None:
    host = read_host_memory(full_host(tmp_path / "host"))
    folder = tree(
        tmp_path / "docker" / "abc",
        {
            "memory.stat": "cache 5\nrss 40\nrss_huge 0\nswap 819200\ntotal_rss 9999\n",
            "memory.usage_in_bytes": "60\n",
        },
    )
    compressed = host.in_zram(819200)
    assert compressed > 0
    assert read_group_memory(folder, host) == AgentMemory(60, 40, 5, 819200, compressed)


def test_a_group_of_v2_with_a_part_in_zswap(tmp_path: Path) -> None:
    host = read_host_memory(
        tree(tmp_path / "host", {"proc/meminfo": "MemTotal: 8 kB\nMemAvailable: 4 kB\n"})
    )
    folder = tree(
        tmp_path / "system.slice" / "docker-abc.scope",
        {
            "memory.stat": "anon 40\nfile 5\nkernel 3\nanon_thp 0\n",
            "memory.current": "60\n",
            "memory.swap.current": "1000\n",
            "memory.zswap.current": "300\n",
        },
    )
    memory = read_group_memory(folder, host)
    assert memory == AgentMemory(60, 40, 5, 1000, 300)
    assert memory.host == 360


def test_a_missing_group_has_no_memory(tmp_path: Path) -> None:
    host = read_host_memory(full_host(tmp_path))
    assert read_group_memory(tmp_path / "gone", host) is None


def test_processes_without_a_group_are_added_up(tmp_path: Path) -> None:
    host = read_host_memory(full_host(tmp_path))
    status = "Name:\tnode\nRssAnon:\t  10 kB\nRssFile:\t  20 kB\nRssShmem:\t 1 kB\nVmSwap:\t 8 kB\n"
    tree(
        tmp_path,
        {
            "proc/10/status": status,
            "proc/11/status": status,
            "proc/12/status": "Name:\tzombie\n",
        },
    )
    memory = read_processes_memory([10, 11, 12, 13], host, root=tmp_path)
    assert memory is not None
    assert (memory.anon, memory.cache, memory.swap) == (20 * 1024, 42 * 1024, 16 * 1024)
    assert memory.usage == 62 * 1024
    assert read_processes_memory([12, 13], host, root=tmp_path) is None


@pytest.mark.parametrize(
    ("listing", "folder"),
    [
        ("5:memory:/docker/abc\n4:pids:/docker/abc\n0::/\n", "memory/docker/abc"),
        (
            "7:hugetlb,memory:/system.slice/docker-abc.scope\n",
            "memory/system.slice/docker-abc.scope",
        ),
        ("0::/system.slice/docker-abc.scope\n", "system.slice/docker-abc.scope"),
        ("0::/docker/abc\n", "docker/abc"),
    ],
)
def test_the_group_of_a_container_is_found_under_every_driver(
    tmp_path: Path, listing: str, folder: str
) -> None:
    tree(tmp_path, {f"{folder}/memory.stat": ""})
    assert memory_folder(listing, root=tmp_path) == tmp_path / folder


def test_no_group_where_none_accounts_for_memory(tmp_path: Path) -> None:
    tree(tmp_path, {"docker/abc/cgroup.procs": ""})
    assert memory_folder("0::/docker/abc\n", root=tmp_path) is None
    assert memory_folder("5:memory:/elsewhere\n", root=tmp_path) is None
