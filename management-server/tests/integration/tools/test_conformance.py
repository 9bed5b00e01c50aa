"""MCP's own conformance suite through both endpoints, in both revisions."""

import asyncio
import sys

import pytest
from ocmt_testing.conformance import failed_scenarios
from ocmt_testing.management.agent_token_shim import with_agent_token
from ocmt_testing.management.serving import Server, serving
from ocmt_testing.management.tool_user import ToolUser
from ocmt_testing.ports import free_ports

# In these a server asks its client something in the middle of a call. The aggregate keeps no
# sessions, so it has no way to ask; OpenClaw would answer neither.
CANNOT_ASK = {
    "tools-call-sampling",
    "tools-call-elicitation",
    "elicitation-sep1034-defaults",
    "elicitation-sep1330-enums",
}
PROGRAM = "ocmt_testing.management.conformance_server"


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_the_suites_required_scenarios_pass(ada: ToolUser, served: Server) -> None:
    (port,) = free_ports()
    program = await asyncio.create_subprocess_exec(sys.executable, "-m", PROGRAM, str(port))
    try:
        await answers(port)
        server = await ada.add("suite", f"http://127.0.0.1:{port}/mcp")
        await ada.allow(server)
        url = served.url
        one = with_agent_token(f"{url}/mcp/suite", ada.token)
        all_of_them = with_agent_token(f"{url}/mcp", ada.token, prefix="suite__")
        async with serving(one) as alone, serving(all_of_them) as aggregate:
            (old, old_passed), (new, new_passed), (together, passed) = await asyncio.gather(
                failed_scenarios(f"{alone.url}/mcp", "2025-11-25"),
                failed_scenarios(f"{alone.url}/mcp", "2026-07-28"),
                failed_scenarios(f"{aggregate.url}/mcp", "2025-11-25"),
            )
    finally:
        program.terminate()
        await program.wait()

    assert old == set()
    assert new == set()
    assert together == CANNOT_ASK
    assert len(old_passed) >= 27
    assert len(new_passed) >= 36
    assert len(passed) >= 22


async def answers(port: int) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return
