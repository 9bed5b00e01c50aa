"""The Docker runtime, with a stand-in for OpenClaw in its containers."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from ocmt_agent.runtime.docker import DockerRuntime
from ocmt_testing.agent_server.container_stand_in import COMMAND
from ocmt_testing.agent_server.docker_agents import docker_agents, running_instead


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "agent" / "agents"


@pytest.fixture
async def runtime(root: Path) -> AsyncIterator[DockerRuntime]:
    root.parent.mkdir()
    async with docker_agents(root) as runtime:
        with running_instead(*COMMAND):
            yield runtime
