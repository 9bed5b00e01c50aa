"""Swap for a test: a temporary swap file, or else the machine's swap."""

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
    """Ensure that there is swap during the block; skip the test if there cannot be any.

    A swap file is preferred, since the machine's swap may be turned off during the test.
    """
    file = folder / "swap"
    if not _made(file):
        if read_host_memory().swap_free() < _ENOUGH:
            pytest.skip("this machine has no swap, and none can be added")
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
    """A priority above those of the machine's and other tests' swap areas."""
    areas = Path("/proc/swaps").read_text().splitlines()[1:]
    return str(min(1 + max([0, *(int(area.split()[-1]) for area in areas)]), 32767))


def _done(*words: str | Path) -> bool:
    return subprocess.run(words, check=False).returncode == 0
