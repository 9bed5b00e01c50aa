"""The small library, preloaded in our image, that keeps a gateway's heap together."""

import shutil
import subprocess
from pathlib import Path

from ocmt_cli.checkout import command
from ocmt_cli.failure import CommandFailed

SOURCE = Path(__file__).with_suffix(".c")
PLACE = "/usr/local/lib/compact-heap.so"
"""Where it is in the image."""


def compile_compact_heap(folder: Path) -> Path:
    """Compile it for this machine's architecture, which is the image's."""
    compiler = shutil.which("gcc")
    if compiler is None:
        raise CommandFailed(
            "Making the image needs a C compiler: `apt-get install gcc`, then run "
            f"`{command('image build')}` again."
        )
    target = folder / "compact-heap.so"
    done = subprocess.run(
        [compiler, "-O2", "-fPIC", "-shared", "-nostdlib", "-s", "-Wall", "-Wextra", "-Werror",
         "-Wl,--build-id=none", "-o", str(target), str(SOURCE)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace", check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise CommandFailed(f"gcc could not compile {SOURCE.name}:\n{done.stdout[-2000:]}")
    return target
