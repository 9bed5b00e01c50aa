"""A real OpenClaw in a container, made beforehand or held, claimed and scanned."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from ocmt_agent.runtime.base import Runtime
from ocmt_testing.agent_server.claimed_agent import scan, scan_taken_over, server
from ocmt_testing.agent_server.docker_agents import bridge_of, docker_agents, runtime_on


@pytest.mark.nightly
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("scan", [scan, scan_taken_over])
async def test_nothing_of_the_spare_or_of_another_user_is_left(
    tmp_path: Path, scan: Callable[..., Awaitable[None]]
) -> None:
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
