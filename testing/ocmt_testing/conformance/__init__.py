"""MCP's conformance suite, pinned in `package.json` and `package-lock.json` beside this file.

Update it with `npm install --package-lock-only --omit-lockfile-registry-resolved
@modelcontextprotocol/conformance@VERSION` in this folder.
"""

import asyncio
import hashlib
import re
import shutil
from importlib import resources
from pathlib import Path

from ocmt_cli.checkout import DEFAULT_DATA
from ocmt_cli.node import node_binary, npm_program, run_node
from ocmt_common.file_lock import lock

_FILES = ("package.json", "package-lock.json")
_STAMP = ".ocmt-lock-sha256"
_PROGRAM = Path("node_modules/@modelcontextprotocol/conformance/dist/index.js")
_FAILED = re.compile(r"^✗ ([\w./-]+): ", re.MULTILINE)
_NOT_SCORED = re.compile(r"^ +[✗✓] ([\w./-]+) \(", re.MULTILINE)
_PASSED = re.compile(r"^✓ ([\w./-]+): [1-9]", re.MULTILINE)


def installed_suite() -> Path:
    """The suite's program, installed once into the checkout's data folder."""
    pin = Path(str(resources.files(__name__)))
    target = DEFAULT_DATA / "conformance"
    wanted = hashlib.sha256((pin / "package-lock.json").read_bytes()).hexdigest()
    target.mkdir(parents=True, exist_ok=True)
    with lock(target):
        stamp = target / _STAMP
        if not stamp.exists() or stamp.read_text() != wanted:
            for name in _FILES:
                shutil.copyfile(pin / name, target / name)
            run_node(
                [npm_program(), "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
                folder=target,
                doing="Installing MCP's conformance suite",
            )
            stamp.write_text(wanted)
    return target / _PROGRAM


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
