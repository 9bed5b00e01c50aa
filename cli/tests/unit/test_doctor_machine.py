from pathlib import Path

from ocmt_cli.doctor.machine import control_groups, memory

_MEMINFO = "MemTotal:       16000000 kB\nMemFree: 1 kB\nMemAvailable:   8000000 kB\n"
_HEAD = "Filename\tType\tSize\tUsed\tPriority\n"


def test_swap_on_disk_and_compressed_swap_are_distinguished(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text(_MEMINFO)
    (tmp_path / "swaps").write_text(
        f"{_HEAD}/swapfile file 4000 0 -2\n/dev/zram0 partition 1000 0 100\n"
    )
    found = memory(meminfo=tmp_path / "meminfo", swaps=tmp_path / "swaps")
    assert found.total_bytes == 16_000_000 * 1024
    assert found.available_bytes == 8_000_000 * 1024
    assert found.swap_on_disk_bytes == 4000 * 1024
    assert found.swap_compressed_bytes == 1000 * 1024


def test_cgroup_v2_always_has_a_freezer(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    found = control_groups(tmp_path)
    assert found.version == 2
    assert found.controllers == {"cpu", "memory", "pids", "freezer"}


def test_cgroup_v1_has_what_is_mounted(tmp_path: Path) -> None:
    for controller in ("memory", "cpuset"):
        (tmp_path / controller).mkdir()
        (tmp_path / controller / "cgroup.procs").touch()
    found = control_groups(tmp_path)
    assert found.version == 1
    assert found.controllers == {"memory"}


def test_a_machine_without_control_groups_is_recognised(tmp_path: Path) -> None:
    assert control_groups(tmp_path).version == 0
