"""The Docker runtime with the real OpenClaw image, in a folder of the test."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import aiodocker
from aiodocker.stream import Stream
from ocmt_agent.runtime import docker
from ocmt_agent.runtime.docker import DockerRuntime
from ocmt_agent.runtime.docker_container import container_config
from ocmt_agent.runtime.spec import Limits
from ocmt_cli.openclaw.commands import build_image
from ocmt_common.openclaw import default_image

from ocmt_testing.agent_server.openclaw import installed_openclaw


def prepare(root: Path) -> None:
    """Build the image, and let containers' users enter `root` to reach their own folders."""
    build_image(installed_openclaw())
    for folder in list(root.parents)[:3]:
        folder.chmod(0o711)


def runtime_on(root: Path, *, relay_host: str | None = None, relay_port: int = 9) -> DockerRuntime:
    return DockerRuntime(
        image=default_image(),
        state_root=root,
        limits=Limits(memory_mb=2048, cpus=2.0, pids=512),
        relay_host=relay_host,
        relay_port=relay_port,
    )


@asynccontextmanager
async def docker_agents(
    root: Path, *, relay_host: str | None = None, relay_port: int = 9
) -> AsyncIterator[DockerRuntime]:
    """A runtime with the agents' folders below `root`; removes the agents at the end."""
    prepare(root)
    runtime = runtime_on(root, relay_host=relay_host, relay_port=relay_port)
    try:
        yield runtime
    finally:
        for user_id in await runtime.observe_all():
            await runtime.remove(user_id, with_state=True)
        await runtime.close()


async def bridge_of(root: Path) -> str:
    """The address at which containers reach this machine."""
    runtime = runtime_on(root)
    try:
        return await runtime.relay_host()
    finally:
        await runtime.close()


@contextmanager
def running_instead(*command: str) -> Iterator[None]:
    """Make agents' containers run `command` instead of a gateway during the block."""

    def config(*given: Any, **named: Any) -> dict[str, Any]:
        return container_config(*given, **named) | {"Cmd": list(command)}

    with mock.patch.object(docker, "container_config", config):
        yield


@asynccontextmanager
async def executed(runtime: DockerRuntime, user_id: str, *command: str) -> AsyncIterator[Stream]:
    """Run a program in the user's container. Yields its input and output."""
    async with aiodocker.Docker() as engine:
        container = engine.containers.container(runtime._ids[user_id])
        program = await container.exec(list(command), stdin=True)
        async with program.start(detach=False) as stream:
            yield stream


async def said_in(runtime: DockerRuntime, user_id: str, *command: str) -> str:
    """The complete output of a program in the user's container."""
    said = b""
    async with executed(runtime, user_id, *command) as stream:
        while (message := await stream.read_out()) is not None:
            said += message.data
    return said.decode(errors="replace")
