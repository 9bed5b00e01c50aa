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
# The same in 2026-07-28, where a server asks by its result, and the aggregate tells the agent that
# the call needs more than it was given.
CANNOT_ASK_BY_RESULT = {
    f"input-required-result-{name}"
    for name in (
        "basic-elicitation",
        "basic-sampling",
        "basic-list-roots",
        "request-state",
        "multiple-input-requests",
        "multi-round",
        "non-tool-request",
        "result-type",
        "tampered-state",
        "capability-check",
    )
}
# Two of its 24 checks want a server's error -32021 (it needs a capability of its client, here
# sampling) passed on as an error. The aggregate has no such capability to offer whatever the client
# declares, and answers each error of a server with a result: OpenClaw pauses all tools after three.
ERRORS_ARE_RESULTS = {"server-stateless"}
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
            (
                (old, old_passed),
                (new, new_passed),
                (together, passed),
                (new_together, new_together_passed),
            ) = await asyncio.gather(
                failed_scenarios(f"{alone.url}/mcp", "2025-11-25"),
                failed_scenarios(f"{alone.url}/mcp", "2026-07-28"),
                failed_scenarios(f"{aggregate.url}/mcp", "2025-11-25"),
                failed_scenarios(f"{aggregate.url}/mcp", "2026-07-28"),
            )
    finally:
        program.terminate()
        await program.wait()

    assert old == set()
    assert new == set()
    assert together == CANNOT_ASK
    assert new_together == CANNOT_ASK_BY_RESULT | ERRORS_ARE_RESULTS
    assert len(old_passed) >= 27
    assert len(new_passed) >= 36
    assert len(passed) >= 22
    assert len(new_together_passed) >= 25


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
