"""The Docker runtime with the real OpenClaw image, on a folder of the test's; tidied up after."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from ocmt_agent.runtime.docker import DockerRuntime
from ocmt_agent.runtime.spec import Limits
from ocmt_cli.openclaw.commands import build_image
from ocmt_common.openclaw import default_image

from ocmt_testing.agent_server.openclaw import installed_openclaw


def prepare(root: Path) -> None:
    """Build the image, and let a container's user pass through to its own folder below `root`."""
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
    """The agents' folders are below `root`; nothing of them is left in the end."""
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
