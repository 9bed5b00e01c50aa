"""OCMT as the MCP and OAuth client that the conformance suite tests.

The suite runs a command for each scenario, with the address of its server. `COMMAND` is a small
program that hands that over to `ConformanceClient`, in the process of the test, which does with
OCMT what a person and their agent would: add the server, sign in where it asks for that, and call
its tools.
"""

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2

from ocmt_testing.management.tool_user import ToolUser

_PROGRAM = """
import json, os, socket, sys
peer = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
context = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT", "{}"))
job = [os.environ["MCP_CONFORMANCE_SCENARIO"], sys.argv[2], context.get("toolCalls")]
peer.sendall(json.dumps(job).encode())
peer.shutdown(socket.SHUT_WR)
said = b"".join(iter(lambda: peer.recv(65536), b"")).decode()
print(said)
sys.exit(0 if said.startswith("done") else 1)
"""
_SIGN_INS = 3
"""How often a person would sign in again for one call."""


@dataclass
class ConformanceClient:
    """`user` adds the servers; `port` is where the command finds it."""

    user: ToolUser
    port: int
    path: Path
    """Of the file that the command runs."""
    few: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(6))
    """The suite starts all scenarios at once."""
    said: dict[str, str] = field(default_factory=dict)
    """How the last run of each scenario ended."""

    @property
    def command(self) -> str:
        return f"{sys.executable} -S -E {self.path} {self.port}"

    async def use(self, scenario: str, url: str, calls: list[dict[str, Any]] | None) -> str:
        """Add a scenario's server and use it. Returns `done`, or what kept OCMT from it.

        `calls` are those of the scenario; otherwise each tool is called once.
        """
        name = re.sub(r"\W", "-", f"{scenario}-{urlsplit(url).port}")
        server = await self.user.add(name, url)
        if server["trouble"] is not None and "sign in" in server["trouble"]:
            refused = await self._sign_in(server)
            if refused is not None:
                return refused
        await self.user.allow(server)
        tools = await self._tools(server)
        trouble = (await self.user.view(server))["trouble"]
        if not tools and "again" in (trouble or ""):  # its authorization server changed
            refused = await self._sign_in(server)
            if refused is not None:
                return refused
            tools = await self._tools(server)
        if not tools:
            return f"no tools: {trouble}"
        if calls is None:
            wanted = [(tool["name"], arguments_for(tool["inputSchema"])) for tool in tools]
        else:
            wanted = [(f"{server['slug']}__{one['name']}", one["arguments"]) for one in calls]
        for called, arguments in wanted:
            for attempt in range(_SIGN_INS + 1):
                result = await self.user.call(called, arguments)
                if not result.get("isError") or attempt == _SIGN_INS:
                    break
                if "again by its person" not in str(result) and "sign in" not in str(result):
                    break
                refused = await self._sign_in(server)
                if refused is not None:
                    return refused
        return "done"

    async def _tools(self, server: dict[str, Any]) -> list[dict[str, Any]]:
        listed = (await self.user.rpc("tools/list"))["result"]["tools"]
        return [tool for tool in listed if tool["name"].startswith(f"{server['slug']}__")]

    async def _sign_in(self, server: dict[str, Any]) -> str | None:
        """Sign in as the person would, whose browser follows the server's redirect at once."""
        started = await self.user.browser.post(f"/api/tools/servers/{server['id']}/sign-in")
        if started.status_code != 200:
            return f"not signed in: {started.text}"
        async with httpx2.AsyncClient(trust_env=False) as browser:
            answer = await browser.get(started.json()["url"])
        parts = urlsplit(answer.headers.get("location", ""))
        back = await self.user.browser.get(f"{parts.path}?{parts.query}")
        where = back.headers.get("location", "")
        if "result=connected" not in where and "result=fewer-scopes" not in where:
            return f"not signed in: {where}"
        refreshed = await self.user.browser.post(f"/api/tools/servers/{server['id']}/refresh")
        assert refreshed.status_code == 200, refreshed.text
        return None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        scenario, url, calls = json.loads(await reader.read())
        try:
            async with self.few:
                said = await self.use(scenario, url, calls)
        except Exception as error:
            said = f"failed: {error!r}"
        self.said[scenario] = said
        writer.write(said.encode())
        writer.close()


@asynccontextmanager
async def conformance_client(user: ToolUser, path: Path) -> AsyncIterator[ConformanceClient]:
    """`path`: where to write the program that the suite runs."""
    await asyncio.to_thread(path.write_text, _PROGRAM, encoding="utf-8")
    client = ConformanceClient(user, 0, path)
    server = await asyncio.start_server(client.serve, "127.0.0.1", 0)
    client.port = server.sockets[0].getsockname()[1]
    async with server:
        yield client


def arguments_for(schema: dict[str, Any]) -> dict[str, Any]:
    """A value for each argument that a tool's schema describes."""
    values: dict[str, Any] = {
        "string": "text", "number": 1, "integer": 1, "boolean": True, "array": [], "object": {},
    }  # fmt: skip
    return {
        name: values.get(str(one.get("type")), "text")
        for name, one in schema.get("properties", {}).items()
        if isinstance(one, dict)
    }
