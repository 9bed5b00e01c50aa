"""A user of tools: their browser, and their agent's requests to `/mcp`."""

import json
from dataclasses import dataclass
from typing import Any

import httpx2

HEADERS = {"accept": "application/json, text/event-stream", "content-type": "application/json"}


@dataclass
class ToolUser:
    """A signed-in user, with clients for their browser and their agent."""

    id: str
    browser: httpx2.AsyncClient
    agent: httpx2.AsyncClient
    token: str

    async def add(self, name: str, url: str, **more: Any) -> dict[str, Any]:
        """Add a server as the page does, and return its view."""
        answer = await self.browser.post(
            "/api/tools/servers", json={"name": name, "url": url, **more}
        )
        assert answer.status_code == 201, answer.text
        view: dict[str, Any] = answer.json()
        return view

    async def allow(self, server: dict[str, Any], tool: str | None = None) -> None:
        await self.rule(server, "allow", tool)

    async def rule(self, server: dict[str, Any], rule: str | None, tool: str | None = None) -> None:
        body = {"rule": rule} | ({} if tool is None else {"tool": tool})
        answer = await self.browser.put(f"/api/tools/servers/{server['id']}/rule", json=body)
        assert answer.status_code == 200, answer.text

    async def view(self, server: dict[str, Any]) -> dict[str, Any]:
        answer = await self.browser.get("/api/tools")
        found: dict[str, Any] = next(s for s in answer.json()["servers"] if s["id"] == server["id"])
        return found

    async def rpc(
        self, method: str, params: dict[str, Any] | None = None, *, path: str = "/mcp"
    ) -> dict[str, Any]:
        """Send a request of the agent (revision 2025-11-25). Returns the whole JSON response."""
        message = {"jsonrpc": "2.0", "id": 7, "method": method, "params": params or {}}
        answer = await self.agent.post(path, json=message, headers=HEADERS)
        assert answer.status_code == 200, answer.text
        if answer.headers["content-type"].startswith("text/event-stream"):
            events = [line[5:] for line in answer.text.splitlines() if line.startswith("data:")]
            last: dict[str, Any] = json.loads(events[-1])
            return last
        whole: dict[str, Any] = answer.json()
        assert whole["id"] == 7
        return whole

    async def modern(
        self,
        method: str,
        params: dict[str, Any] | None = None,
        *,
        path: str = "/mcp",
        version: str = "2026-07-28",
        headers: dict[str, str] | None = None,
    ) -> httpx2.Response:
        """Send a request of the agent in the revision 2026-07-28."""
        meta = {
            "io.modelcontextprotocol/protocolVersion": version,
            "io.modelcontextprotocol/clientCapabilities": {},
        }
        whole = {**(params or {}), "_meta": meta}
        name = whole.get("name", whole.get("uri"))
        named = {} if name is None else {"mcp-name": name}
        return await self.agent.post(
            path,
            json={"jsonrpc": "2.0", "id": 7, "method": method, "params": whole},
            headers={
                **HEADERS,
                "mcp-protocol-version": version,
                "mcp-method": method,
                **named,
                **(headers or {}),
            },
        )

    async def call(
        self, tool: str, arguments: dict[str, Any] | None = None, *, path: str = "/mcp"
    ) -> dict[str, Any]:
        """Call a tool and return the result."""
        params = {"name": tool, "arguments": arguments or {}}
        answer = await self.rpc("tools/call", params, path=path)
        assert "result" in answer, answer
        found: dict[str, Any] = answer["result"]
        return found

    async def listed(self, *, path: str = "/mcp") -> list[str]:
        answer = await self.rpc("tools/list", path=path)
        """The names of its servers' tools."""
        names = [tool["name"] for tool in answer["result"]["tools"]]
        return [name for name in names if not name.startswith("ocmt_")]


def text_of(result: dict[str, Any]) -> str:
    return str(result["content"][0]["text"])
