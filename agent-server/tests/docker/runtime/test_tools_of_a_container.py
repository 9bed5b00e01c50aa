"""A real container of the real OpenClaw: its tools change, and its configuration is damaged."""

import json
from pathlib import Path

import aiohttp
from ocmt_agent.runtime.docker_container import config_file
from ocmt_testing.agent_server.conversation import use_a_tool_added_meanwhile
from ocmt_testing.agent_server.docker_agents import bridge_of, docker_agents
from ocmt_testing.agent_server.mcp_tools import McpTools
from ocmt_testing.agent_server.real_gateway import spec_of
from ocmt_testing.agent_server.scripted_model import scripted_model


async def test_a_tool_added_in_a_conversation_is_used_in_it(tmp_path: Path) -> None:
    tools, spec = McpTools("first"), spec_of("ada")
    bridge = await bridge_of(tmp_path)
    async with (
        scripted_model(bridge, mcp=tools.serve) as (model, port),
        docker_agents(tmp_path / "agents", relay_port=port) as runtime,
        aiohttp.ClientSession() as session,
    ):
        await use_a_tool_added_meanwhile(runtime, spec, session, tools, model)

        # What is damaged is written again before a start, into the same container.
        file, made = config_file(runtime.home("ada")), runtime._ids["ada"]
        whole = json.loads(file.read_text())
        await runtime.stop("ada", grace_s=0)
        for damaged in ("{{{", "", "[]"):
            file.write_text(damaged)
            await runtime.create(spec)
            assert json.loads(file.read_text()).keys() == whole.keys()
        assert runtime._ids["ada"] == made
