"""A tool server that asks for a sign-in at an authorization server."""

from typing import Any

import httpx2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


class ProtectedServer:
    """An MCP server that takes tokens of the authorization server, and says so."""

    def __init__(self, issuer: str) -> None:
        self.issuer = issuer
        self.url = ""
        self.lacks: str | None = None
        """The scope that its answers to calls say the token lacks."""
        self.app = Starlette(
            routes=[
                Route("/mcp", self.mcp, methods=["POST"]),
                Route("/.well-known/oauth-protected-resource/mcp", self.metadata),
            ]
        )

    async def metadata(self, _: Request) -> Response:
        return JSONResponse(
            {
                "resource": self.url,
                "authorization_servers": [self.issuer],
                "scopes_supported": ["notes"],
            }
        )

    async def mcp(self, request: Request) -> Response:
        async with httpx2.AsyncClient(trust_env=False) as client:
            header = request.headers.get("authorization", "")
            known = await client.get(f"{self.issuer}/api/x", headers={"authorization": header})
        if known.status_code != 200:
            where = f"{self.url.removesuffix('/mcp')}/.well-known/oauth-protected-resource/mcp"
            return JSONResponse(
                {}, 401, {"WWW-Authenticate": f'Bearer resource_metadata="{where}"'}
            )
        message = await request.json()
        if self.lacks is not None and message["method"] == "tools/call":
            challenge = f'Bearer error="insufficient_scope", scope="{self.lacks}"'
            return JSONResponse({}, 403, {"WWW-Authenticate": challenge})
        if "id" not in message:
            return Response(status_code=202)
        results: dict[str, Any] = {
            "initialize": {
                "protocolVersion": "2025-11-25",
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "protected", "version": "1"},
            },
            "tools/list": {"tools": [{"name": "whoami", "inputSchema": {"type": "object"}}]},
            "tools/call": {"content": [{"type": "text", "text": known.json()["who"]}]},
        }
        result = results[message["method"]]
        return JSONResponse({"jsonrpc": "2.0", "id": message["id"], "result": result})
