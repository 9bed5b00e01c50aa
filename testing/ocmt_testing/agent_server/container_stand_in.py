"""A gateway's stand-in in a real container, for tests of what surrounds the gateway.

A Node program in the place of OpenClaw: it starts in half a second, answers only to its own token,
and holds a lease in memory as OpenClaw does. At SIGUSR2 it closes, gives up its lock and takes it
again as OpenClaw does, and keeps a database of its state open for a second. `StandInControl` is the
client.
"""

import json
from datetime import datetime

import aiohttp
from ocmt_agent.gateway.access import GatewayAccess
from ocmt_agent.gateway.admin import Busy, GatewayRefused, GatewayUnreachable, Suspended
from ocmt_agent.runtime.base import Endpoint
from ocmt_agent.runtime.spec import GATEWAY_PORT
from ocmt_common.agent_api import Job

LOGGED = "the stand-in listens"
DATABASE = "database"
"""The file in its state that it keeps open."""
_PROGRAM = f"""
const fs = require("node:fs"), {{ DatabaseSync }} = require("node:sqlite");
const state = process.env.OPENCLAW_STATE_DIR;
let lease = "", read = [];
const server = require("node:http").createServer((asked, answer) => {{
  const ours = asked.headers.authorization === "Bearer " + process.env.OPENCLAW_GATEWAY_TOKEN;
  answer.statusCode = ours ? 200 : 401;
  if (ours && asked.url === "/suspend") lease = "lease";
  if (ours && asked.url === "/resume") lease = "";
  answer.end(ours && asked.url === "/state" ? JSON.stringify(read) : lease);
}});
function lock() {{
  const file = new DatabaseSync("/tmp/gateway-lifecycle.0.lock.sqlite");
  try {{
    file.exec("PRAGMA busy_timeout = 0; PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE;");
    return file;
  }} catch (error) {{
    file.close();
    if (!error.message.includes("locked")) throw error;
  }}
}}
function serve() {{
  const held = lock();
  if (!held) return setTimeout(serve, 100);
  read = fs.readdirSync(state);
  const database = fs.openSync(state + "/{DATABASE}", "a");
  server.listen({GATEWAY_PORT}, () => console.log("{LOGGED}"));
  process.once("SIGUSR2", () => {{
    setTimeout(() => fs.closeSync(database), 1000);
    server.close(() => {{ held.close(); serve(); }});
    server.closeAllConnections();
  }});
}}
process.on("SIGTERM", () => process.exit(0));
serve();
"""
COMMAND = ("node", "-e", _PROGRAM)
_ANSWERS_WITHIN = aiohttp.ClientTimeout(total=5)


class StandInControl:
    """Implements `GatewayControl` for gateways that run `COMMAND`."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._sockets: dict[str, Endpoint] = {}

    async def _lease(self, access: GatewayAccess, path: str = "") -> str:
        headers = {"Authorization": f"Bearer {access.gateway_token}"}
        try:
            async with self._session.get(
                f"{access.endpoint.url}/{path}", headers=headers, timeout=_ANSWERS_WITHIN
            ) as answer:
                if answer.status != 200:
                    raise GatewayRefused("UNAUTHORIZED", "another agent's gateway")
                return await answer.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise GatewayUnreachable(str(error)) from error

    async def state(self, access: GatewayAccess) -> list[str]:
        """The names in its state when it last began to serve."""
        names: list[str] = json.loads(await self._lease(access, "state"))
        return names

    async def is_live(self, access: GatewayAccess) -> bool:
        try:
            await self._lease(access)
        except GatewayUnreachable:
            return False
        return True

    async def is_started(self, access: GatewayAccess) -> bool:
        return await self.is_live(access)

    async def health(self, access: GatewayAccess) -> None:
        if await self._lease(access):
            raise GatewayRefused("UNAVAILABLE", "suspended", retry_after_s=0.5)

    async def suspend(self, access: GatewayAccess, *, request_id: str) -> Suspended | Busy:
        lease = await self._lease(access, "suspend")
        self._sockets[access.user_id] = access.endpoint
        return Suspended(lease)

    async def resume(self, access: GatewayAccess, suspension_id: str) -> None:
        await self._lease(access, "resume")
        self._sockets.pop(access.user_id, None)

    def control_socket_to(self, user_id: str) -> Endpoint | None:
        return self._sockets.get(user_id)

    def renamed(self, before: str, user_id: str) -> None:
        if before in self._sockets:
            self._sockets[user_id] = self._sockets.pop(before)

    async def next_job_at(self, access: GatewayAccess, *, heartbeats: bool) -> datetime | None:
        return None

    async def list_jobs(self, access: GatewayAccess) -> list[Job]:
        return []

    async def run_job(self, access: GatewayAccess, job_id: str) -> None: ...

    async def enable_job(self, access: GatewayAccess, job_id: str, *, enabled: bool) -> None: ...

    async def remove_job(self, access: GatewayAccess, job_id: str) -> None: ...

    async def active_runs(self, access: GatewayAccess) -> int | None:
        return 0
