"""MCP's conformance suite, pinned in `package-lock.json` beside this file."""

import asyncio
import itertools
import re
from dataclasses import dataclass
from pathlib import Path

from ocmt_cli.node import node_binary

from ocmt_testing.npm_programs import installed

_PROGRAM = Path("node_modules/@modelcontextprotocol/conformance/dist/index.js")
_FAILED = re.compile(r"^✗ ([\w./-]+): ", re.MULTILINE)
_NOT_SCORED = re.compile(r"^ +[✗✓] ([\w./-]+) \(", re.MULTILINE)
_PASSED = re.compile(r"^✓ ([\w./-]+): [1-9]", re.MULTILINE)
_OF_CLIENT = re.compile(r"^[✓✗] ([\w./-]+): (\d+) passed, (\d+) failed(?:, (\d+) warnings)?$")


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


@dataclass(frozen=True, slots=True)
class ClientScenario:
    passed: int
    failed: int
    warnings: int
    why: tuple[str, ...]
    """What failed, in the suite's words."""


async def client_scenarios(command: str, revision: str) -> dict[str, ClientScenario]:
    """The required scenarios of a revision for the client that `command` runs, all at once."""
    suite = await asyncio.to_thread(installed_suite)
    process = await asyncio.create_subprocess_exec(
        node_binary(), suite, "client", "--command", command, "--requirements", revision,
        "--verbose", "--timeout", "120000",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    output, _ = await process.communicate()
    _, mark, summary = output.decode().partition("=== SUITE SUMMARY ===")
    assert mark, output[-2000:]
    found: dict[str, ClientScenario] = {}
    lines = summary.splitlines()
    for number, line in enumerate(lines):
        one = _OF_CLIENT.match(line)
        if one is not None:
            why = tuple(itertools.takewhile(lambda n: n.startswith("    - "), lines[number + 1 :]))
            found[one[1]] = ClientScenario(int(one[2]), int(one[3]), int(one[4] or 0), why)
    unscored = set(_NOT_SCORED.findall(summary))
    return {name: scenario for name, scenario in found.items() if name not in unscored}
