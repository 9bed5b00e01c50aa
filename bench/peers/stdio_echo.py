"""An MCP server over stdio that does no work, with 200 tools. Needs the standard library only."""

import json
import sys
from typing import Any

TOOLS = [
    {
        "name": "echo" if number == 0 else f"tool_{number}",
        "description": "Returns the text that it is called with. " * 3,
        "inputSchema": {
            "type": "object",
            "properties": {"text": {"type": "string", "description": "What to return."}},
            "required": ["text"],
        },
    }
    for number in range(200)
]


def answer(message: dict[str, Any]) -> dict[str, Any] | None:
    """The result of a request; `None` for a notification."""
    method = message.get("method")
    params = message.get("params", {})
    if "id" not in message:
        return None
    if method == "initialize":
        return {
            "protocolVersion": params["protocolVersion"],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "echo", "version": "1"},
        }
    if method == "tools/list":
        return {"tools": TOOLS}
    if method == "tools/call":
        return {"content": [{"type": "text", "text": params["arguments"]["text"]}]}
    return {}


if __name__ == "__main__":
    for line in sys.stdin:
        request = json.loads(line)
        result = answer(request)
        if result is not None:
            whole = {"jsonrpc": "2.0", "id": request["id"], "result": result}
            sys.stdout.write(json.dumps(whole) + "\n")
            sys.stdout.flush()
