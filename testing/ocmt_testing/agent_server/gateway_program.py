"""Runs the gateway double as a program, for tests of processes.

It is started like OpenClaw: `… gateway --bind loopback --port PORT`, with the token in the
environment.
"""

import os
import sys
from pathlib import Path

from aiohttp import web

from ocmt_testing.agent_server.gateway_double import GatewayDouble


def stand_in_for_node(folder: Path) -> Path:
    """Write a NODE_BINARY that runs the double. `folder` also serves as OPENCLAW_DIR."""
    entry = folder / "node_modules" / "openclaw" / "openclaw.mjs"
    entry.parent.mkdir(parents=True)
    entry.touch()
    entry.with_name("package.json").write_text('{"version": "2026.9.6"}')
    node = folder / "node"
    node.write_text(f'#!/bin/sh\nexec {sys.executable} {Path(__file__)} "$@"\n')
    node.chmod(0o755)
    return node


if __name__ == "__main__":
    port = int(sys.argv[sys.argv.index("--port") + 1])
    double = GatewayDouble(token=os.environ["OPENCLAW_GATEWAY_TOKEN"])
    web.run_app(double.application(extra={}), host="127.0.0.1", port=port, print=None)
