"""Swap for a benchmark on a machine that has none: a file that is removed afterwards."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.agents import meminfo

_BYTES = 16 << 30


@contextmanager
def some_swap() -> Iterator[str]:
    """Ensure that there is swap during the block, if this is possible. Yields what there is."""
    total = meminfo()["SwapTotal"]
    if total > 0:
        yield f"this machine's {total / 1e9:.0f} GB"
        return
    if os.geteuid() != 0:
        yield "none, and only root can make some"
        return
    with tempfile.TemporaryDirectory(prefix="ocmt-bench-swap-") as folder:
        file = Path(folder, "swap")
        try:
            _run("fallocate", "-l", str(_BYTES), str(file))
            file.chmod(0o600)
            _run("mkswap", "-q", str(file))
            _run("swapon", str(file))
        except (OSError, subprocess.CalledProcessError) as error:
            yield f"none, and none can be made in {folder}: {error}"
            return
        try:
            yield f"a file of {_BYTES / 1e9:.0f} GB for this run"
        finally:
            _run("swapoff", str(file))


def _run(*words: str) -> None:
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
