"""What a call of a tool costs: direct, through `/mcp`, through the relay, and through its peers.

The gateway looks up the agent's token, applies rules and pins, joins the user's credential from the
vault, checks the answer and records the use. The peers do none of this: `mcp-proxy` in front of a
server over stdio, and fastmcp's proxy in front of the same server over HTTP, each in an environment
of its own, which `uv` makes. Every target is measured in each round, so that a busy machine affects
all alike; a figure is the median over the rounds. All on loopback, each server in processes of its
own. Run: `python bench/mcp_bench.py --json`.
"""

import argparse
import asyncio
import base64
import contextlib
import itertools
import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import uvicorn
import uvloop
from aiohttp import web
from ocmt_agent.proxy.connection_limit import bounded
from ocmt_agent.proxy.forwarding import open_session
from ocmt_agent.proxy.relay import relay_app
from ocmt_agent.proxy.server_options import socket_options
from ocmt_common.logs import configure_logging
from ocmt_common.settings import load
from ocmt_management.agents.models import Stage
from ocmt_management.agents.repository import AgentRepository
from ocmt_management.auth.models import Role, Status, User
from ocmt_management.clock import utc_now
from ocmt_management.db import Database
from ocmt_management.migrations import migrate
from ocmt_management.settings import ManagementSettings
from ocmt_management.tokens import token_hash
from ocmt_management.tools.catalogue import Catalogue
from ocmt_management.tools.discovery import Offer
from ocmt_management.tools.models import Rule
from ocmt_management.tools.pins import read_definitions
from ocmt_management.tools.repository import ToolRepository
from ocmt_management.tools.schemas import NewServer
from ocmt_management.tools.servers import UserServers
from ocmt_management.tools.snapshot import connection
from ocmt_management.vault.keys import KeyRing
from ocmt_testing.ports import free_ports
from peers.stdio_echo import TOOLS, answer
from pydantic import SecretStr

PEERS = {
    "mcp-proxy": ("--with", "mcp<2", "--from", "mcp-proxy==0.13.0"),
    "fastmcp": ("--from", "fastmcp==4.2.3"),
}
"""Program → its environment, as options of `uv tool run`."""
AT_ONCE = 8
KEY = "key-0123456789"
STDIO_ECHO = Path(__file__).parent / "peers" / "stdio_echo.py"
_TICKS = os.sysconf("SC_CLK_TCK")

# -- the servers, one process each -------------------------------------------------------------


async def serve_upstream(port: int) -> None:
    """A tool server that does no work, so that the time measured is the gateway's."""

    async def mcp(request: web.Request) -> web.Response:
        message = await request.json()
        result = answer(message)
        if result is None:
            return web.Response(status=202)
        assert message["method"] != "tools/call" or request.headers.get("X-Api-Key") in (KEY, None)
        return web.json_response({"jsonrpc": "2.0", "id": message["id"], "result": result})

    async def no_stream(request: web.Request) -> web.Response:
        return web.Response(status=405)

    app = web.Application()
    app.router.add_post("/mcp", mcp)
    app.router.add_get("/mcp", no_stream)
    app.router.add_delete("/mcp", no_stream)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


async def serve_relay(port: int, management: str, token: str) -> None:
    """The relay as the agent server serves it, with one agent."""
    configure_logging()
    async with open_session() as session:
        config = uvicorn.Config(
            relay_app(management, token.__eq__, session),
            http=bounded(),
            port=port,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            **socket_options(max_frame_bytes=1 << 20),
        )
        await uvicorn.Server(config).serve()


async def furnish(environment: dict[str, str], token: str, upstream: str) -> None:
    """Create a user with an agent and one connected server, all of whose tools are allowed."""
    settings = load(ManagementSettings, environ=environment)
    await migrate(settings.database)
    database, keys = Database(settings.database), KeyRing(settings.vault_keys)
    async with database.write() as session:
        now = utc_now()
        session.add(
            User(id="u", email="u@x.io", role=Role.MEMBER, status=Status.ACTIVE, created_at=now)
        )
        await session.flush()
        agents = AgentRepository(session)
        await agents.begin("u", token_hash(token), now)
        await session.flush()
        await agents.finish("u", token_hash(token), Stage.READY, failure=None, now=now)
        servers = UserServers(
            session,
            keys=keys,
            clock=utc_now,
            user_id="u",
            private_hosts=settings.private_host_set,
        )
        new = NewServer(
            name="echo", url=upstream, credential_name="X-Api-Key", credential=SecretStr(KEY)
        )
        server_id = await servers.add(new)
        await servers.set_rule(server_id, None, Rule.ALLOW)
        await session.flush()
        rows = ToolRepository(session)
        server, account = await rows.server_for("u", server_id), await rows.account("u", server_id)
        assert server is not None
        assert account is not None
        definitions, wrong = read_definitions(TOOLS)
        assert wrong == []
        catalogue = Catalogue(session, utc_now, connection("u", server, account, None))
        await catalogue.store(Offer(definitions, b"{}", None))
    await database.close()


@contextlib.contextmanager
def process(*command: str, environment: dict[str, str] | None = None) -> Iterator[int]:
    """Yields the process's id. Its log is written, as in production."""
    with tempfile.TemporaryFile() as log:
        running = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            yield running.pid
        finally:
            for pid in reversed(tree(running.pid)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, 15)
            running.wait()


def tree(pid: int) -> list[int]:
    """A process and all that it started, parents first."""
    found = [pid]
    for one in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{one}/task").iterdir():
                found += map(int, (task / "children").read_text(encoding="ascii").split())
    return found


def cpu_s(pids: list[int]) -> float:
    """Seconds of CPU time that these processes and their children took so far."""
    ticks = 0
    for pid in (one for root in pids for one in tree(root)):
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        ticks += int(stat[11]) + int(stat[12])
    return ticks / _TICKS


# -- measuring ---------------------------------------------------------------------------------


@dataclass
class Target:
    name: str
    url: str
    tool: str
    token: str | None = None
    pids: list[int] = field(default_factory=list)
    """The processes between the client and the tool's server."""


class Client:
    """One MCP session, in the revision 2025-11-25."""

    def __init__(self, http: aiohttp.ClientSession, target: Target) -> None:
        self._http = http
        self._url = target.url
        self._headers = {
            "accept": "application/json, text/event-stream",
            "content-type": "application/json",
        }
        if target.token is not None:
            self._headers["authorization"] = f"Bearer {target.token}"
        self._ids = itertools.count(1)  # one that is in use belongs to one answer only
        self._call = {"name": target.tool, "arguments": {"text": "a few words"}}

    async def begin(self) -> None:
        hello = {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "bench", "version": "1"},
        }
        async with self._http.post(
            self._url, data=self._message("initialize", hello), headers=self._headers
        ) as begun:
            assert begun.status == 200, await begun.text()
            await begun.read()
            if "mcp-session-id" in begun.headers:
                self._headers["mcp-session-id"] = begun.headers["mcp-session-id"]
        self._headers["mcp-protocol-version"] = "2025-11-25"
        note = b'{"jsonrpc":"2.0","method":"notifications/initialized"}'
        async with self._http.post(self._url, data=note, headers=self._headers) as noted:
            await noted.read()

    async def call(self) -> float:
        return await self._timed(self._message("tools/call", self._call), b"a few words")

    async def list(self) -> float:
        return await self._timed(self._message("tools/list", {}), b"tool_199")

    def _message(self, method: str, params: dict[str, Any]) -> bytes:
        whole = {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params}
        return json.dumps(whole).encode()

    async def _timed(self, body: bytes, expected: bytes) -> float:
        started = time.perf_counter()
        async with self._http.post(self._url, data=body, headers=self._headers) as done:
            whole = await done.read()
        took = time.perf_counter() - started
        assert expected in whole, whole[:500]
        assert b'"isError":true' not in whole.replace(b" ", b""), whole[:500]
        return took


@contextlib.asynccontextmanager
async def client_of(target: Target) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession(trust_env=False) as http:
        client = Client(http, target)
        await client.begin()
        yield client


async def measure(target: Target, seconds: float) -> dict[str, float]:
    async with client_of(target) as client:
        await asyncio.gather(*(client.call() for _ in range(AT_ONCE)))  # warm up
        one_by_one = await _for(seconds, client.call)
        before_s, before = time.perf_counter(), cpu_s(target.pids)
        many = await asyncio.gather(*(_for(seconds, client.call) for _ in range(AT_ONCE)))
        calls = sum(map(len, many))
        took_s, cpu = time.perf_counter() - before_s, cpu_s(target.pids) - before
        lists = await _for(seconds / 2, client.list)
    return {
        "call p50 ms": statistics.median(one_by_one) * 1000,
        f"calls/s ({AT_ONCE} at once)": calls / took_s,
        "CPU ms a call": cpu / calls * 1000,
        "list of 200, p50 ms": statistics.median(lists) * 1000,
    }


async def _for(seconds: float, timed: Any) -> list[float]:
    until = time.perf_counter() + seconds
    taken = []
    while time.perf_counter() < until:
        taken.append(await timed())
    return taken


async def until_up(target: Target) -> None:
    async with asyncio.timeout(180):  # `uv` may have to download the peer first
        while True:
            try:
                async with client_of(target) as client:
                    await client.call()
                    return
            except (aiohttp.ClientError, AssertionError):
                await asyncio.sleep(0.2)


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[list[Target]]:
    """All servers, and the targets to measure; direct is the first."""
    token = secrets.token_urlsafe(32)
    upstream, ours, relay, stdio, fast = free_ports(5)
    url = "http://127.0.0.1:{}/mcp"
    environment = {
        "DATA_DIR": str(folder / "data"),
        "JWT_SECRET": secrets.token_urlsafe(48),
        "VAULT_KEY": "k1:" + base64.b64encode(secrets.token_bytes(32)).decode(),
        "AGENT_AUTH_TOKEN": secrets.token_urlsafe(48),
        "AGENT_SERVER_URL": "http://127.0.0.1:9",
        "PRIVATE_HOSTS": "127.0.0.1",
        "PORT": str(ours),
    }
    with contextlib.redirect_stdout(sys.stderr):  # its log; the figures may be read as JSON
        asyncio.run(furnish(environment, token, url.format(upstream)))
    python, here = sys.executable, str(Path(__file__))
    with contextlib.ExitStack() as stack:

        def start(*command: str, **options: Any) -> int:
            return stack.enter_context(process(*command, **options))

        def peer(name: str, *command: str) -> int:
            tool = (python, "-m", "uv", "tool", "run", "--isolated", *PEERS[name])
            return start(*tool, name, *command)

        start(python, here, "--serve-upstream", str(upstream))
        management = start(python, "-m", "ocmt_management", environment=environment)
        through = f"{relay}:{ours}:{token}"
        relaying = start(python, here, "--serve-relay", through)
        echo = ("--port", str(stdio), "--", python, str(STDIO_ECHO))
        stdio_proxy = peer("mcp-proxy", *echo)
        to = ("--transport", "http", "--port", str(fast), "--no-banner")
        fast_proxy = peer("fastmcp", "run", url.format(upstream), *to)
        yield [
            Target("direct", url.format(upstream), "echo"),
            Target("ours", url.format(ours), "echo__echo", token, [management]),
            Target(
                "relay and ours", url.format(relay), "echo__echo", token, [relaying, management]
            ),
            Target("mcp-proxy", url.format(stdio), "echo", None, [stdio_proxy]),
            Target("fastmcp's proxy", url.format(fast), "echo", None, [fast_proxy]),
        ]


async def rounds_of(targets: list[Target], rounds: int, seconds: float) -> dict[str, Any]:
    for target in targets:
        await until_up(target)
    found: dict[str, list[dict[str, float]]] = {target.name: [] for target in targets}
    for number in range(rounds):
        # Each round starts with another target, so that the order varies.
        for target in targets[number % len(targets) :] + targets[: number % len(targets)]:
            found[target.name].append(await measure(target, seconds))
    figures = {
        name: {what: round(statistics.median(r[what] for r in all_), 2) for what in all_[0]}
        for name, all_ in found.items()
    }
    direct = figures["direct"]
    added = {
        name: {
            "call p50 ms": round(mine["call p50 ms"] - direct["call p50 ms"], 2),
            "calls/s a core": round(1000 / mine["CPU ms a call"])
            if mine["CPU ms a call"]
            else None,
        }
        for name, mine in figures.items()
        if name != "direct"
    }
    ratios = {
        name: {
            what: round(figures["ours"][what] / theirs[what], 3) for what in theirs if theirs[what]
        }
        for name, theirs in figures.items()
        if name != "ours"
    }
    return {"rounds": rounds, "figures": figures, "added": added, "ours to the others": ratios}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print raw figures")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each figure of a round")
    parser.add_argument("--serve-upstream", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--serve-relay", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.serve_upstream:
        uvloop.run(serve_upstream(chosen.serve_upstream))
    elif chosen.serve_relay:
        port, management, token = chosen.serve_relay.split(":")
        uvloop.run(serve_relay(int(port), f"http://127.0.0.1:{management}", token))
    else:
        with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as targets:
            result = asyncio.run(rounds_of(targets, chosen.rounds, chosen.seconds))
        print(json.dumps(result, indent=2) if chosen.json else table(result))


def table(result: dict[str, Any]) -> str:
    names = list(result["figures"])
    lines = [f"{'':24}" + "".join(f"{name:>18}" for name in names)]
    for what in result["figures"]["direct"]:
        cells = "".join(f"{result['figures'][name][what]:>18}" for name in names)
        lines.append(f"{what:24}{cells}")
    for what in ("call p50 ms", "calls/s a core"):
        cells = "".join(f"{result['added'].get(name, {}).get(what) or '':>18}" for name in names)
        lines.append(f"{'added ' + what if 'p50' in what else what:24}{cells}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
