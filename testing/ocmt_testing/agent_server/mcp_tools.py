"""A stateless MCP server over Streamable HTTP, to which a test adds tools.

Each tool answers `NAME was called`. Like OCMT's own, it has no sessions and no stream for
notifications.
"""

import asyncio
from typing import Any

from aiohttp import web


class McpTools:
    def __init__(self, *names: str) -> None:
        self.names = list(names)
        self.listed: list[str] = []
        """The query strings of the requests for the list."""
        self.called: list[str] = []
        self._listing = asyncio.Condition()

    async def listed_at(self, query: str) -> None:
        """Wait until the tools have been listed with this query string."""
        async with self._listing:
            await self._listing.wait_for(lambda: query in self.listed)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        if request.method != "POST":
            return web.Response(status=405)
        message: dict[str, Any] = await request.json()
        if "id" not in message:
            return web.Response(status=202)
        result = await self._result(message, request.query_string)
        return web.json_response({"jsonrpc": "2.0", "id": message["id"], "result": result})

    async def _result(self, message: dict[str, Any], query: str) -> dict[str, Any]:
        match message["method"]:
            case "initialize":
                return {
                    "protocolVersion": message["params"]["protocolVersion"],
                    "capabilities": {"tools": {}},
                    "serverInfo": {"name": "tools", "version": "1"},
                }
            case "tools/list":
                async with self._listing:
                    self.listed.append(query)
                    self._listing.notify_all()
                schema = {"type": "object"}
                return {
                    "tools": [
                        {"name": name, "description": name, "inputSchema": schema}
                        for name in self.names
                    ]
                }
            case "tools/call":
                name = message["params"]["name"]
                self.called.append(name)
                return {"content": [{"type": "text", "text": f"{name} was called"}]}
        return {}
