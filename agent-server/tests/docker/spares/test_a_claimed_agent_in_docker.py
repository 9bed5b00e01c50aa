"""A real OpenClaw in a container, made beforehand, claimed and scanned."""

from pathlib import Path

import pytest
from ocmt_agent.runtime.base import Runtime
from ocmt_testing.agent_server.claimed_agent import scan, server
from ocmt_testing.agent_server.docker_agents import bridge_of, docker_agents, runtime_on


@pytest.mark.nightly
@pytest.mark.timeout(900)
async def test_nothing_of_the_spare_or_of_another_user_is_left(tmp_path: Path) -> None:
    root = tmp_path / "agents"
    ports: list[int] = []

    async with docker_agents(root):  # removes the containers at the end
        relay_host = await bridge_of(root)

        def open_runtime(relay_port: int) -> Runtime:
            ports.append(relay_port)
            return runtime_on(root, relay_host=relay_host, relay_port=relay_port)

        sent: list[str] = []
        async with server(
            tmp_path, sent, open_runtime=open_runtime, relay_host=relay_host
        ) as parts:
            await scan(parts, sent, relay_port=ports[0])
