"""Compiles the library that the image preloads into gateways.

It keeps a gateway's heap compact, stops its timers while it is frozen, and holds it before it reads
its state (`preloaded/*.c`).
"""

import shutil
import subprocess
from pathlib import Path

from ocmt_cli.checkout import command
from ocmt_cli.failure import CommandFailed

SOURCES = sorted((Path(__file__).parent / "preloaded").glob("*.c"))
PLACE = "/usr/local/lib/ocmt-preload.so"
"""The library's path in the image."""


def compile_preload(folder: Path) -> Path:
    """Compile the library for this machine's architecture, which is also the image's.

    Raises `CommandFailed`.
    """
    compiler = shutil.which("gcc")
    if compiler is None:
        raise CommandFailed(
            "Building the image needs a C compiler: `apt-get install gcc`, then run "
            f"`{command('image build')}` again."
        )
    target = folder / "ocmt-preload.so"
    done = subprocess.run(
        [compiler, "-O2", "-fPIC", "-shared", "-nostdlib", "-s", "-Wall", "-Wextra", "-Werror",
         "-Wl,--build-id=none", "-o", str(target),
         *(str(source) for source in SOURCES)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace", check=False,
    )  # fmt: skip
    if done.returncode != 0:
        names = " and ".join(source.name for source in SOURCES)
        raise CommandFailed(f"gcc could not compile {names}:\n{done.stdout[-2000:]}")
    return target
