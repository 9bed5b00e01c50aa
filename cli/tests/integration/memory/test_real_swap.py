"""Real swap of 64 MB, added and removed by this machine's kernel; root only."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from ocmt_cli.failure import CommandFailed
from ocmt_cli.memory.apply import apply
from ocmt_cli.memory.machine import Machine, Places, look
from ocmt_cli.memory.plan import Wish, boot_steps, plan_disable, plan_enable, unit_text
from ocmt_cli.memory.record import Made, read_made

MIB = 1024**2


class Here:
    """This machine's kernel, with configuration files in a folder of the test."""

    def __init__(self, tmp_path: Path) -> None:
        self.file = tmp_path / "swap"
        run = tmp_path / "run"  # no systemd in there: nothing of this outlives the test
        run.mkdir()
        self.places = Places(run=run, units=tmp_path / "units", state=tmp_path / "state")

    def look(self) -> Machine:
        # A small machine: compressed swap is sized after its memory.
        return replace(look(self.places, self.file), ram_bytes=128 * MIB)

    def areas(self) -> int:
        """How many of this test's swap areas are on; those of another run do not count."""
        look = self.look()
        ours = (str(self.file), look.zram_device)
        return sum(area.device in ours for area in look.areas)

    def enable(self, wish: Wish) -> int:
        """Apply; returns the number of steps."""
        plan = plan_enable(wish, self.look(), read_made(self.places.record), self.places)
        apply(plan, say=lambda _: None)
        return len(plan.steps)

    def disable(self) -> int:
        plan = plan_disable(self.look(), read_made(self.places.record), self.places)
        apply(plan, say=lambda _: None)
        return len(plan.steps)


def _kernel_refuses(folder: Path) -> str | None:
    """Why this machine cannot swap at all, found with plain programs instead of ours."""
    if os.geteuid() != 0:
        return "only root may swap"
    probe = folder / "probe"
    probe.touch(0o600)
    for words in (
        ["fallocate", "--length", str(16 * MIB), str(probe)],
        ["mkswap", str(probe)],
        ["swapon", str(probe)],
        ["swapoff", str(probe)],
    ):
        path = {"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
        done = subprocess.run(words, capture_output=True, text=True, check=False, env=path)
        if done.returncode != 0:
            return done.stderr.strip().splitlines()[-1].replace(str(probe), "a file")
    return None


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Here]:
    if why := _kernel_refuses(tmp_path):
        pytest.skip(f"no swap here: {why}")
    made = Here(tmp_path)
    try:
        yield made
    finally:
        made.disable()


def test_a_swap_file_is_made_once_and_removed_whole(here: Here) -> None:
    wish = Wish(here.file, swap_bytes=64 * MIB)
    assert here.enable(wish) > 0
    area = here.look().area(str(here.file))
    assert area is not None
    assert (area.size_bytes, area.priority) == (64 * MIB - 4096, 10)
    assert here.file.stat().st_mode & 0o777 == 0o600
    assert here.enable(wish) == 0

    assert here.disable() > 0
    assert here.areas() == 0
    assert not here.file.exists()
    assert not here.places.record.exists()
    assert here.disable() == 0


def test_compressed_swap_is_found_again_and_given_back(here: Here) -> None:
    if not here.look().zram:
        pytest.skip("this kernel has no zram")
    here.enable(Wish(here.file, swap_bytes=0, zram=True))
    device = here.look().zram_device
    assert device is not None
    area = here.look().area(device)
    assert area is not None
    assert (area.size_bytes, area.priority) == (64 * MIB - 4096, 100)
    here.disable()
    assert here.look().area(device) is None
    size = Path(f"/sys/block/{Path(device).name}/disksize")  # newer programs remove it altogether
    assert not size.exists() or size.read_text().strip() == "0"


def wish_for_all(here: Here) -> Wish:
    return Wish(here.file, swap_bytes=64 * MIB, zram=here.look().zram)


def test_an_enable_cut_short_at_any_step_is_completed_by_another_or_undone(here: Here) -> None:
    wish = wish_for_all(here)
    whole = plan_enable(wish, here.look(), None, here.places)
    for done in range(1, len(whole.steps)):
        for completed in (True, False):
            apply(replace(whole, steps=whole.steps[:done]), say=lambda _: None)
            if completed:
                here.enable(wish)
                assert here.look().area(str(here.file)) is not None
                assert here.areas() == 1 + wish.zram
            here.disable()
            assert here.areas() == 0
            assert not here.file.exists()
            assert not here.places.record.exists()


def test_a_disable_cut_short_at_any_step_is_completed_by_another(here: Here) -> None:
    wish = wish_for_all(here)
    here.enable(wish)
    made = read_made(here.places.record)
    steps = len(plan_disable(here.look(), made, here.places).steps)
    for done in range(1, steps):
        here.enable(wish)
        whole = plan_disable(here.look(), made, here.places)
        apply(replace(whole, steps=whole.steps[:done]), say=lambda _: None)
        here.disable()
        assert here.areas() == 0
        assert not here.file.exists()
        assert not here.places.record.exists()


def test_a_file_the_kernel_does_not_take_is_explained(here: Here) -> None:
    plan = plan_enable(Wish(here.file, swap_bytes=64 * MIB), here.look(), None, here.places)
    without_header = tuple(step for step in plan.steps if "mkswap" not in str(step))
    with pytest.raises(CommandFailed, match=r"(?s)swapon.*does not accept this file.*disable"):
        apply(replace(plan, steps=without_header), say=lambda _: None)


@pytest.mark.needs("systemd")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    made = Made(str(tmp_path / "swap"), 64 * MIB, encrypted=False, zram_bytes=MIB, zswap_before=())
    unit = tmp_path / "ocmt-memory.service"
    unit.write_text(unit_text(boot_steps(made, Places())))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
