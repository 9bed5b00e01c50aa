from dataclasses import replace
from pathlib import Path

import pytest
from ocmt_cli.memory.machine import Area, Machine, Places
from ocmt_cli.memory.plan import (
    GIB,
    Plan,
    Refused,
    Wish,
    boot_steps,
    plan_disable,
    plan_enable,
    swap_by_rule,
    unit_text,
)
from ocmt_cli.memory.record import Made, as_text, read_made

PLACES = Places()
FILE = Path("/srv/swap")
BARE = Machine(
    root=True,
    ram_bytes=8 * GIB,
    available_bytes=6 * GIB,
    areas=(),
    filesystem="ext4",
    disk_free_bytes=100 * GIB,
    file_bytes=None,
    mapped_device=None,
    zram=True,
    zram_device=None,
    zswap=(("enabled", "N"), ("compressor", "lzo"), ("max_pool_percent", "30")),
    dm_crypt=True,
    systemd=True,
    unit_there=False,
    unit_enabled=False,
    programs=frozenset(
        {"mkswap", "swapon", "swapoff", "fallocate", "cryptsetup", "zramctl", "modprobe"}
    ),
)
PLAIN = Made(str(FILE), 32 * GIB, encrypted=False, zram_bytes=0, zswap_before=None)


def on(made: Made, machine: Machine = BARE, *, used_bytes: int = 0) -> Machine:
    """The machine after `made` was applied."""
    area = Area(made.file or "", made.file_bytes, used_bytes, 10)
    return replace(
        machine, areas=(area,), file_bytes=made.file_bytes, unit_there=True, unit_enabled=True
    )


def said(plan: Plan) -> str:
    return "\n".join(str(step) for step in plan.steps)


def test_enabling_records_first_then_makes_the_file_then_the_unit() -> None:
    plan = plan_enable(Wish(FILE), BARE, None, PLACES)
    assert [str(step) for step in plan.steps] == [
        "write /var/lib/ocmt/memory.json",
        "remove /srv/swap",
        "write /srv/swap",
        f"fallocate --length {64 * GIB} /srv/swap",
        "mkswap --label ocmt /srv/swap",
        "swapon --priority 10 /srv/swap",
        "write /etc/systemd/system/ocmt-memory.service",
        "systemctl daemon-reload",
        "systemctl enable ocmt-memory.service",
    ]
    assert plan.not_permanent == ()


def test_enabling_twice_does_nothing_though_the_disk_is_fuller_now() -> None:
    machine = replace(on(PLAIN), disk_free_bytes=GIB)
    assert plan_enable(Wish(FILE), machine, PLAIN, PLACES).steps == ()


def test_after_a_boot_without_systemd_only_the_swapping_starts_again() -> None:
    machine = replace(on(PLAIN), areas=(), systemd=False)
    plan = plan_enable(Wish(FILE), machine, PLAIN, PLACES)
    assert "fallocate" not in said(plan)
    assert "swapon --priority 10 /srv/swap" in said(plan)
    assert plan.not_permanent == ("swapon --priority 10 /srv/swap",)


def test_a_truncated_file_is_written_again() -> None:
    machine = replace(BARE, file_bytes=GIB)
    assert "fallocate" in said(plan_enable(Wish(FILE), machine, PLAIN, PLACES))


def test_a_unit_that_was_written_and_not_enabled_is_enabled_and_removed_all_the_same() -> None:
    machine = replace(on(PLAIN), unit_enabled=False)
    assert "systemctl enable ocmt-memory.service" in said(
        plan_enable(Wish(FILE), machine, PLAIN, PLACES)
    )
    assert f"remove {PLACES.unit}" in said(plan_disable(machine, PLAIN, PLACES))


def test_an_encrypted_device_that_was_opened_and_not_swapped_to_is_not_opened_twice() -> None:
    made = replace(PLAIN, encrypted=True)
    machine = replace(BARE, file_bytes=made.file_bytes, mapped_device="/dev/dm-0")
    steps = said(plan_enable(Wish(FILE, encrypt=True), machine, made, PLACES))
    assert "cryptsetup" not in steps
    assert "swapon --priority 10 /dev/mapper/ocmt-swap" in steps
    assert "cryptsetup close ocmt-swap" in said(plan_disable(machine, made, PLACES))


def test_another_wish_is_refused_until_the_first_is_disabled() -> None:
    with pytest.raises(Refused, match="Already enabled: 32 GB of swap"):
        plan_enable(Wish(FILE, swap_bytes=GIB), on(PLAIN), PLAIN, PLACES)


def test_btrfs_gets_a_file_without_copy_on_write_before_it_is_filled() -> None:
    steps = said(plan_enable(Wish(FILE), replace(BARE, filesystem="btrfs"), None, PLACES))
    assert steps.index("chattr +C") < steps.index("fallocate")


def test_encrypted_swap_gets_a_new_key_and_a_new_header_at_every_boot() -> None:
    made = replace(PLAIN, encrypted=True)
    first = said(plan_enable(Wish(FILE, encrypt=True), BARE, None, PLACES))
    unit = unit_text(boot_steps(made, PLACES))
    for text in (first, unit):
        assert "--key-file /dev/urandom /srv/swap ocmt-swap" in text
        assert "mkswap --label ocmt /dev/mapper/ocmt-swap" in text
        assert "mkswap --label ocmt /srv/swap" not in text


def test_the_unit_escapes_what_systemd_would_expand() -> None:
    made = Made(None, 0, encrypted=False, zram_bytes=GIB, zswap_before=None)
    unit = unit_text(boot_steps(made, PLACES))
    assert "$$(zramctl" in unit
    assert '"$$d"' in unit
    assert "ExecStart=-modprobe zram" in unit
    assert "Before=docker.service" in unit


@pytest.mark.parametrize(
    ("wish", "machine", "why"),
    [
        (Wish(FILE), replace(BARE, root=False), "sudo"),
        (Wish(FILE), replace(BARE, filesystem="tmpfs"), "tmpfs, which does not support swap"),
        (Wish(FILE), replace(BARE, filesystem="overlay"), "--file"),
        (Wish(FILE), replace(BARE, file_bytes=1), "is not a file of"),
        (Wish(FILE, swap_bytes=200 * GIB), BARE, "200 GB does not fit: 100 GB is free"),
        (Wish(FILE), replace(BARE, disk_free_bytes=2 * GIB), "Only 2 GB of disk space is free"),
        (Wish(FILE, swap_bytes=4096), BARE, "at least 10 MB"),
        (Wish(FILE, encrypt=True), replace(BARE, dm_crypt=False), "no dm-crypt"),
        (
            Wish(FILE, encrypt=True),
            replace(BARE, programs=BARE.programs - {"cryptsetup"}),
            "cryptsetup-bin",
        ),
        (Wish(FILE), replace(BARE, programs=frozenset()), "fallocate, mkswap, swapoff, swapon"),
        (Wish(FILE, zram=True), replace(BARE, zram=False), "no zram"),
        (Wish(FILE, zswap=True), replace(BARE, zswap=None), "no zswap"),
        (Wish(FILE, zram=True, zswap=True), BARE, "choose one"),
        (Wish(FILE, swap_bytes=0), BARE, "needs --zram"),
        (Wish(FILE, swap_bytes=0, zram=True, encrypt=True), BARE, "nothing to encrypt"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_done(
    wish: Wish, machine: Machine, why: str
) -> None:
    with pytest.raises(Refused, match=why):
        plan_enable(wish, machine, None, PLACES)


def test_the_rule_is_eight_times_ram_and_leaves_a_quarter_of_the_disk() -> None:
    assert swap_by_rule(BARE) == 64 * GIB
    assert swap_by_rule(replace(BARE, disk_free_bytes=20 * GIB)) == 15 * GIB
    assert swap_by_rule(replace(BARE, disk_free_bytes=6 * GIB)) == 2 * GIB


def test_disabling_removes_exactly_what_was_made() -> None:
    others = Area("/other", GIB, 0, -2)
    machine = on(PLAIN)
    machine = replace(machine, areas=(*machine.areas, others))
    assert [str(step) for step in plan_disable(machine, PLAIN, PLACES).steps] == [
        "systemctl disable ocmt-memory.service",
        "remove /etc/systemd/system/ocmt-memory.service",
        "systemctl daemon-reload",
        "swapoff /srv/swap",
        "remove /srv/swap",
        "remove /var/lib/ocmt/memory.json",
    ]


def test_disabling_gives_zswap_its_settings_back_and_frees_the_compressed_device() -> None:
    made = replace(PLAIN, zram_bytes=GIB, zswap_before=BARE.zswap)
    machine = replace(on(made), zram_device="/dev/zram3")
    steps = said(plan_disable(machine, made, PLACES))
    assert "zramctl --reset /dev/zram3" in steps
    assert "echo lzo > /sys/module/zswap/parameters/compressor" in steps
    assert "echo 30 > /sys/module/zswap/parameters/max_pool_percent" in steps


def test_disabling_what_was_never_enabled_touches_nothing() -> None:
    assert plan_disable(replace(BARE, areas=(Area("/other", 1, 1, 0),)), None, PLACES).steps == ()


def test_swapping_off_more_than_fits_into_memory_is_refused() -> None:
    with pytest.raises(Refused, match=r"holds 8 GB, and only 5\.8 GB of memory is free"):
        plan_disable(on(PLAIN, used_bytes=8 * GIB), PLAIN, PLACES)
    other = Area("/other", 4 * GIB, 0, -2)
    machine = on(PLAIN, used_bytes=8 * GIB)
    machine = replace(machine, areas=(*machine.areas, other))
    assert plan_disable(machine, PLAIN, PLACES).steps


def test_the_record_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    made = replace(PLAIN, zswap_before=BARE.zswap)
    (tmp_path / "memory.json").write_text(as_text(made))
    assert read_made(tmp_path / "memory.json") == made
    assert read_made(tmp_path / "none") is None


def test_a_damaged_record_is_an_error_and_not_nothing(tmp_path: Path) -> None:
    (tmp_path / "memory.json").write_text("{}")
    with pytest.raises(ValueError, match="not a record"):
        read_made(tmp_path / "memory.json")
