"""The real OpenClaw as a process: a tool that is added while a conversation is open."""

from pathlib import Path

import aiohttp
import pytest
from ocmt_agent.runtime.process import ProcessRuntime
from ocmt_agent.runtime.spec import Limits
from ocmt_testing.agent_server.conversation import use_a_tool_added_meanwhile
from ocmt_testing.agent_server.mcp_tools import McpTools
from ocmt_testing.agent_server.openclaw import installed_openclaw, node_binary
from ocmt_testing.agent_server.real_gateway import spec_of
from ocmt_testing.agent_server.scripted_model import scripted_model


@pytest.mark.nightly  # in Docker by day
async def test_a_tool_added_in_a_conversation_is_used_in_it(tmp_path: Path) -> None:
    tools = McpTools("first")
    async with (
        scripted_model("127.0.0.1", mcp=tools.serve) as (model, port),
        aiohttp.ClientSession() as session,
    ):
        runtime = ProcessRuntime(
            node=node_binary(),
            openclaw_dir=installed_openclaw(),
            state_root=tmp_path,
            limits=Limits(memory_mb=2048, cpus=2.0, pids=512),
            relay_host="127.0.0.1",
            relay_port=port,
        )
        try:
            await use_a_tool_added_meanwhile(runtime, spec_of("ada"), session, tools, model)
        finally:
            await runtime.remove("ada", with_state=True)
            await runtime.close()
