"""Over a real socket: a caller that disconnects ends its call, and no other."""

import asyncio
from pathlib import Path

import aiohttp
from ocmt_agent.app import create_app
from ocmt_common.agent_api import AUTH_HEADER
from ocmt_testing.agent_server.host import TOKEN, open_host
from ocmt_testing.agent_server.local_tool_containers import LocalToolContainers
from ocmt_testing.agent_server.serving import serving

PATH = "api/containers/ada/tool-servers/one"
DEFINITION = {"package": "tool", "version": "1.0.0", "integrity": f"sha512-{'A' * 86}=="}


def call(tool: str, **arguments: object) -> dict[str, object]:
    params = {"name": tool, "arguments": arguments}
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}


async def test_a_caller_that_disconnects_has_its_call_cancelled(tmp_path: Path) -> None:
    async with (
        open_host(tmp_path, tool_containers=LocalToolContainers()) as host,
        serving(create_app(host.parts)) as server,
        aiohttp.ClientSession(headers={AUTH_HEADER: TOKEN}) as session,
    ):
        await host.provision()
        url = f"{server.url}/{PATH}"
        async with session.put(url, json=DEFINITION) as answer:
            assert answer.status == 200
        async with session.post(f"{url}/mcp", json=call("echo", text="x")) as answer:
            assert answer.status == 200
        running = host.parts.tool_servers.get("ada", "one")._session
        assert running is not None
        other = asyncio.create_task(session.post(f"{url}/mcp", json=call("later", s=0.5)))
        leaving = asyncio.create_task(session.post(f"{url}/mcp", json=call("never")))
        async with asyncio.timeout(10):
            while running.waiting < 2:  # noqa: ASYNC110 (nothing tells)
                await asyncio.sleep(0.01)
            leaving.cancel()
            while running.waiting == 2 or not running.last_output:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert running.last_output[0].startswith("cancelled")
        async with await other as answer:
            assert answer.status == 200
