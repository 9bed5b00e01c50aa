"""Swap for a test: a file of our own for as long as it runs, else what the machine has."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ocmt_agent.memory.host import read_host_memory

_ENOUGH = 2 << 30


@contextmanager
def some_swap(folder: Path) -> Iterator[None]:
    """Skips the test where swap can be had in neither way (no right, or a file system without).

    Our own first: the machine's may be taken away while the test runs.
    """
    file = folder / "swap"
    if not _made(file):
        if read_host_memory().swap_free() < _ENOUGH:
            pytest.skip("this machine has no swap and does not let us add some")
        yield
        return
    try:
        yield
    finally:
        subprocess.run(["swapoff", file], check=True)
        file.unlink()


def _made(file: Path) -> bool:
    if shutil.which("swapon") is None or shutil.disk_usage(file.parent).free < 2 * _ENOUGH:
        return False
    made = False
    try:
        made = _done("fallocate", "-l", str(_ENOUGH), file)
        if made:
            file.chmod(0o600)
            made = _done("mkswap", "-q", file) and _done("swapon", "-p", _above_all_others(), file)
    finally:
        if not made:
            file.unlink(missing_ok=True)
    return made


def _above_all_others() -> str:
    """The priority that puts an area before the machine's own, and before another test's."""
    areas = Path("/proc/swaps").read_text().splitlines()[1:]
    return str(min(1 + max([0, *(int(area.split()[-1]) for area in areas)]), 32767))


def _done(*words: str | Path) -> bool:
    return subprocess.run(words, check=False).returncode == 0
