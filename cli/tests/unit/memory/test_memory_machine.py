from pathlib import Path

import pytest
from ocmt_cli.memory.machine import Area, Places, look
from ocmt_cli.sizes import parse_size, show_size


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """A small tree like /proc and /sys."""
    root = tmp_path / "root"
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text("MemTotal: 8000 kB\nMemAvailable: 6000 kB\n")
    (root / "proc/swaps").write_text(
        "Filename Type Size Used Priority\n/my\\040swap file 4000 100 -2\n"
        "/dev/dm-1 partition 100 0 10\n"
    )
    (root / "proc/self/mountinfo").write_text(
        "1 0 8:1 / / rw - ext4 /dev/sda rw\n"
        f"2 1 0:5 / {tmp_path} rw - tmpfs tmpfs rw\n"
        f"3 1 0:6 / {tmp_path}/none rw - xfs x rw\n"
    )
    return Places.under(root)


def test_a_bare_machine_is_read_without_error(places: Places, tmp_path: Path) -> None:
    found = look(places, tmp_path / "new/folder/swap")
    assert (found.ram_bytes, found.available_bytes) == (8000 * 1024, 6000 * 1024)
    assert found.areas[0] == Area("/my swap", 4000 * 1024, 100 * 1024, -2)
    assert found.filesystem == "tmpfs"
    assert found.file_bytes is None
    assert found.zswap is None
    assert not found.systemd


def test_existing_features_are_found(places: Places, tmp_path: Path) -> None:
    (places.zswap).mkdir(parents=True)
    for name, value in (("enabled", "Y"), ("compressor", "lz4"), ("max_pool_percent", "20")):
        (places.zswap / name).write_text(value + "\n")
    (places.run / "systemd/system").mkdir(parents=True)
    places.zram_device.write_text("/dev/zram1\n")
    assert look(places, tmp_path / "swap").zram_device is None
    (places.sys / "block/zram1").mkdir(parents=True)
    places.mapped.parent.mkdir(parents=True)
    places.mapped.symlink_to("/dev/null")
    (tmp_path / "swap").write_bytes(b"x" * 10)
    places.unit_link.parent.mkdir(parents=True)
    places.unit.write_text("")
    assert not look(places, tmp_path / "swap").unit_enabled
    places.unit_link.symlink_to(places.unit)
    found = look(places, tmp_path / "swap")
    assert found.unit_enabled
    assert dict(found.zswap or ())["enabled"] == "Y"
    assert found.systemd
    assert found.zram_device == "/dev/zram1"
    assert found.mapped_device == "/dev/null"
    assert found.file_bytes == 10


@pytest.mark.parametrize(
    ("text", "size"),
    [("64M", 64 << 20), ("8GB", 8 << 30), ("1.5 GiB", 3 << 29), ("0", 0), ("2t", 2 << 40)],
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "many", "-1G", "1X", "1 G B"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


def test_sizes_are_shown_short() -> None:
    assert [show_size(s) for s in (64 << 20, 8 << 30, 3 << 29)] == ["64 MB", "8 GB", "1.5 GB"]
