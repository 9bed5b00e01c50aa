"""Chooses the host's runtime: Docker if it answers and has the image, else plain processes.

`auto` decides only once per data folder, so that agents do not become processes of this server's
user while Docker is still starting.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import structlog
from ocmt_common.atomic_files import replace_file

from ocmt_agent.runtime.base import Runtime, RuntimeUnavailable
from ocmt_agent.runtime.docker import DockerRuntime
from ocmt_agent.runtime.process import ProcessRuntime
from ocmt_agent.runtime.spec import Limits

log = structlog.get_logger(__name__)

RuntimeChoice = Literal["auto", "docker", "process"]
_KINDS: tuple[RuntimeChoice, ...] = ("docker", "process")


async def open_runtime(
    choice: RuntimeChoice,
    *,
    image: str,
    node: Path | None,
    openclaw_dir: Path | None,
    state_root: Path,
    limits: Limits,
    relay_host: str | None,
    relay_port: int,
) -> Runtime:
    """Open this host's runtime. `relay_host` overrides the relay's address for agents.

    Raises `RuntimeUnavailable` if the chosen runtime cannot work on this host at all. If the engine
    is only down, the server starts, reports this, and recovers once the engine is up.
    """
    chosen = state_root / ".runtime"
    with _explained(state_root):
        await asyncio.to_thread(_make_root, state_root)
        if choice == "auto":
            choice = _read_choice(chosen)
    runtime: Runtime | None = None
    without_docker = ""
    if choice != "process":
        docker = DockerRuntime(
            image=image,
            state_root=state_root,
            limits=limits,
            relay_host=relay_host,
            relay_port=relay_port,
        )
        problems = await docker.problems()
        if choice == "docker" or not problems:
            runtime = docker
        else:
            await docker.close()
            without_docker = problems[0]
            log.info("using plain processes", because=without_docker)
    if runtime is None:
        if node is None or openclaw_dir is None:
            raise RuntimeUnavailable(
                f"{without_docker} The process runtime needs NODE_BINARY and OPENCLAW_DIR; "
                "`./ocmt up` sets both.".lstrip()
            )
        runtime = ProcessRuntime(
            node=node,
            openclaw_dir=openclaw_dir,
            state_root=state_root,
            limits=limits,
            relay_host=relay_host or "127.0.0.1",
            relay_port=relay_port,
        )
    with _explained(state_root):
        if not chosen.exists() or chosen.read_text() != runtime.name:
            replace_file(chosen, runtime.name)
    return runtime


@contextlib.contextmanager
def _explained(state_root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RuntimeUnavailable(
            f"{state_root} cannot be used: {error.strerror}. Free space on its disk, and let this "
            "server's user write to it."
        ) from error


def _read_choice(file: Path) -> RuntimeChoice:
    try:
        text = file.read_text().strip()
    except FileNotFoundError:
        return "auto"
    for kind in _KINDS:
        if text == kind:
            return kind
    raise RuntimeUnavailable(
        f"{file} must contain the agents' runtime, docker or process, and does not. Set RUNTIME to "
        "the agents' runtime; the server then writes the file again."
    )


def _make_root(state_root: Path) -> None:
    state_root.mkdir(parents=True, exist_ok=True)
    # A container's user may enter the folder to reach its own, but not list it.
    state_root.chmod(0o711)
