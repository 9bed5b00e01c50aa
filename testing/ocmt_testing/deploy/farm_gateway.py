"""What the farm's agents run in OpenClaw's place: the gateway's double, as a process of its own.

Started as Node.js would be: `… gateway --bind loopback --port PORT`, the token in the environment.
"""

import os
import sys

from aiohttp import web

from ocmt_testing.agent_server.gateway_double import GatewayDouble

if __name__ == "__main__":
    port = int(sys.argv[sys.argv.index("--port") + 1])
    double = GatewayDouble(token=os.environ["OPENCLAW_GATEWAY_TOKEN"])
    web.run_app(double.application(extra={}), host="127.0.0.1", port=port, print=None)
