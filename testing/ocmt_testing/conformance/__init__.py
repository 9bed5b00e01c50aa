"""MCP's conformance suite, pinned in `package-lock.json` beside this file."""

import asyncio
import re
from pathlib import Path

from ocmt_cli.node import node_binary

from ocmt_testing.npm_programs import installed

_PROGRAM = Path("node_modules/@modelcontextprotocol/conformance/dist/index.js")
_FAILED = re.compile(r"^✗ ([\w./-]+): ", re.MULTILINE)
_NOT_SCORED = re.compile(r"^ +[✗✓] ([\w./-]+) \(", re.MULTILINE)
_PASSED = re.compile(r"^✓ ([\w./-]+): [1-9]", re.MULTILINE)


def installed_suite() -> Path:
    """The suite's program, installed once into the checkout's data folder."""
    return installed(__name__, "MCP's conformance suite") / _PROGRAM


async def failed_scenarios(url: str, revision: str) -> tuple[set[str], set[str]]:
    """`(failed, passed)` required scenarios of a revision for the server at `url`."""
    suite = await asyncio.to_thread(installed_suite)
    process = await asyncio.create_subprocess_exec(
        node_binary(), suite, "server", "--url", url, "--requirements", revision,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    text = output.decode()
    assert "=== SUMMARY ===" in text, text[-2000:]
    unscored = set(_NOT_SCORED.findall(text))
    return set(_FAILED.findall(text)) - unscored, set(_PASSED.findall(text)) - unscored
