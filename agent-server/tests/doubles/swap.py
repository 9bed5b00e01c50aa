"""Swap for a test: what the machine has, or a file of our own for as long as it runs."""

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
    """Skips the test where swap can be had in neither way (no right, or a file system without)."""
    if read_host_memory().swap_free() >= _ENOUGH:
        yield
        return
    file = folder / "swap"
    if shutil.which("swapon") is None or shutil.disk_usage(folder).free < 2 * _ENOUGH:
        pytest.skip("no swap here, and no program or no room to make some")
    subprocess.run(["fallocate", "-l", str(_ENOUGH), file], check=True)
    file.chmod(0o600)
    subprocess.run(["mkswap", "-q", file], check=True)
    if subprocess.run(["swapon", file], check=False).returncode != 0:
        file.unlink()
        pytest.skip("this machine does not let us add swap")
    try:
        yield
    finally:
        subprocess.run(["swapoff", file], check=True)
        file.unlink()
