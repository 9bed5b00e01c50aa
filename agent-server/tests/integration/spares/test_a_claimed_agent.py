"""A real OpenClaw as a process, made beforehand, claimed and scanned."""

from pathlib import Path

import pytest
from ocmt_agent.runtime.base import Runtime
from ocmt_agent.runtime.process import ProcessRuntime
from ocmt_agent.runtime.spec import Limits
from ocmt_testing.agent_server.claimed_agent import scan, server
from ocmt_testing.agent_server.openclaw import installed_openclaw, node_binary

HOST = "127.0.0.1"


@pytest.mark.nightly
@pytest.mark.timeout(900)
async def test_nothing_of_the_spare_or_of_another_user_is_left(tmp_path: Path) -> None:
    agents = tmp_path / "agents"
    agents.mkdir()
    ports: list[int] = []

    def open_runtime(relay_port: int) -> Runtime:
        ports.append(relay_port)
        return ProcessRuntime(
            node=node_binary(),
            openclaw_dir=installed_openclaw(),
            state_root=agents,
            limits=Limits(memory_mb=2048, cpus=2.0, pids=512),
            relay_host=HOST,
            relay_port=relay_port,
        )

    sent: list[str] = []
    async with server(tmp_path, sent, open_runtime=open_runtime, relay_host=HOST) as parts:
        await scan(parts, sent, relay_port=ports[0])
