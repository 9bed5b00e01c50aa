"""What the agent server's proxy costs: requests direct, through it, and through its peers.

Every target is measured in each round of one run, so that a busy machine affects all alike; a
figure is the median over the rounds. Peers are a plain aiohttp reverse proxy (without token, wake
or path rules) and, if installed, nginx. All on loopback, each server in a process of its own. Run:
`python bench/proxy.py --json`.
"""

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import uvicorn
import uvloop
from aiohttp import WSMsgType, web
from ocmt_agent.auth import TokenMiddleware, exactly
from ocmt_agent.decisions.activity import ActivityKind
from ocmt_agent.gateway.access import GatewayAccess
from ocmt_agent.gateway.admin import GatewayAdmin
from ocmt_agent.gateway.device import DeviceKey
from ocmt_agent.proxy.forwarding import open_session
from ocmt_agent.proxy.routes import proxy_routes
from ocmt_agent.proxy.server_options import socket_options
from ocmt_agent.runtime.base import Endpoint, SecretText
from ocmt_common.agent_api import AUTH_HEADER
from ocmt_common.bounded_http import BoundedHttp
from ocmt_common.logs import configure_logging
from ocmt_common.web import RequestIdMiddleware
from starlette.applications import Starlette

TOKEN = "bench-token-0123456789-0123456789"
BIG_BYTES = 100 * 1024 * 1024
CHUNK = b"x" * 65536
FRAME = json.dumps({"type": "req", "id": "1", "method": "echo", "params": {"text": "x" * 900}})
ECHO = json.dumps({"type": "res", "id": "1", "ok": True}, separators=(",", ":"))

# -- the servers, one process each -------------------------------------------------------------


async def serve_upstream(port: int) -> None:
    """Serve a gateway that does no work, so that the measured time is the proxy's."""

    async def small(_: web.Request) -> web.Response:
        return web.json_response({"ok": True, "status": "live"})

    async def events(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        await answer.write(b"data: first\n\n")
        await asyncio.sleep(0.02)
        await answer.write(b"data: last\n\n")
        return answer

    async def big(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Length": str(BIG_BYTES)})
        await answer.prepare(request)
        for _ in range(BIG_BYTES // len(CHUNK)):
            await answer.write(CHUNK)
        return answer

    async def chat(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        challenge = {"nonce": "n", "ts": int(time.time() * 1000)}
        await socket.send_json(
            {"type": "event", "event": "connect.challenge", "payload": challenge}
        )
        await socket.receive()
        hello = {"type": "hello-ok", "protocol": 4, "auth": {"role": "operator", "scopes": []}}
        await socket.send_json({"type": "res", "id": "connect", "ok": True, "payload": hello})
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await socket.send_str(ECHO)
        return socket

    app = web.Application()
    app.add_routes(
        [
            web.get("/v1/small", small),
            web.get("/v1/events", events),
            web.get("/v1/big", big),
            web.get("/", chat),
        ]
    )
    await _run_aiohttp(app, port)


async def serve_aiohttp_peer(port: int, upstream: str) -> None:
    async with aiohttp.ClientSession(auto_decompress=False) as session:

        async def forward(request: web.Request) -> web.StreamResponse:
            if request.headers.get("Upgrade", "").lower() == "websocket":
                return await pipe(request)
            async with session.request(
                request.method,
                upstream + request.path_qs,
                headers={n: v for n, v in request.headers.items() if n != "Host"},
                data=request.content if request.body_exists else None,
            ) as there:
                answer = web.StreamResponse(status=there.status)
                for name in ("Content-Type", "Content-Length"):
                    if name in there.headers:
                        answer.headers[name] = there.headers[name]
                await answer.prepare(request)
                async for chunk in there.content.iter_any():
                    await answer.write(chunk)
                return answer

        async def pipe(request: web.Request) -> web.WebSocketResponse:
            here = web.WebSocketResponse()
            await here.prepare(request)
            async with session.ws_connect(upstream + request.path) as there:

                async def pump(
                    source: AsyncIterator[aiohttp.WSMessage],
                    send: Callable[[str], Awaitable[None]],
                ) -> None:
                    async for message in source:
                        await send(message.data)

                down = asyncio.create_task(pump(there, here.send_str))
                await pump(here, there.send_str)
                down.cancel()
            return here

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", forward)
        await _run_aiohttp(app, port)


async def _run_aiohttp(app: web.Application, port: int) -> None:
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


class AlwaysAwake:
    """Looks the gateway up in a dictionary, like the wake of a running agent."""

    def __init__(self, endpoint: Endpoint) -> None:
        access = GatewayAccess("ada", endpoint, SecretText(TOKEN), DeviceKey.generate())
        self._agents = {"ada": access}

    async def awake(self, user_id: str, *, kind: ActivityKind) -> GatewayAccess:
        return self._agents[user_id]

    @asynccontextmanager
    async def using(self, user_id: str, *, kind: ActivityKind) -> AsyncIterator[GatewayAccess]:
        yield await self.awake(user_id, kind=kind)

    def run_ended(self, user_id: str, *, kind: ActivityKind) -> None:
        pass

    def doubt(self, access: GatewayAccess) -> None:
        raise AssertionError("the bench's gateway went away")


async def serve_ours(port: int, upstream: str) -> None:
    """Serve the proxy like the agent server, with authentication, request ids and the log."""
    configure_logging()
    host, upstream_port = upstream.removeprefix("http://").split(":")
    async with open_session() as session:
        routes = proxy_routes(
            AlwaysAwake(Endpoint(host, int(upstream_port))),
            session,
            GatewayAdmin(session),
            max_body_bytes=1 << 20,
        )
        app = Starlette(routes=routes)
        app.add_middleware(TokenMiddleware, accepts=exactly(TOKEN), called="the token")
        app.add_middleware(RequestIdMiddleware)
        config = uvicorn.Config(
            app,
            http=BoundedHttp,
            port=port,
            log_config=None,
            access_log=False,
            lifespan="off",
            **socket_options(max_frame_bytes=1 << 20),
        )
        await uvicorn.Server(config).serve()


NGINX = """
daemon off; worker_processes 1; error_log stderr error; pid {folder}/pid;
events {{ worker_connections 256; }}
http {{
  access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream there {{ server {upstream}; keepalive 32; }}
  map $http_upgrade $connection_header {{ default upgrade; "" ""; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://there; proxy_http_version 1.1; proxy_buffering off;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_header;
    }}
  }}
}}
"""


@contextlib.contextmanager
def process(arguments: list[str]) -> Iterator[None]:
    # The log is written, as in production.
    child = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        child.terminate()
        child.wait(10)


# -- the measurements --------------------------------------------------------------------------


@dataclass(frozen=True)
class Target:
    name: str
    base: str
    headers: dict[str, str]


@dataclass(frozen=True)
class Sizes:
    rounds: int
    requests: int
    frames: int


def _percentiles(seconds: list[float]) -> tuple[float, float]:
    """p50 and p99 in milliseconds."""
    ordered = sorted(seconds)
    return ordered[len(ordered) // 2] * 1000, ordered[int(len(ordered) * 0.99)] * 1000


async def measure(target: Target, sizes: Sizes) -> dict[str, float]:
    """Run one round of all measurements of a target, with a new client and warm connections."""
    async with aiohttp.ClientSession(headers=target.headers) as session:
        result: dict[str, float] = {}

        async def get_small() -> float:
            started = time.perf_counter()
            async with session.get(f"{target.base}v1/small") as answer:
                await answer.read()
                assert answer.status == 200, await answer.text()
            return time.perf_counter() - started

        await asyncio.gather(*[get_small() for _ in range(16)])  # warm up connections and caches
        p50, p99 = _percentiles([await get_small() for _ in range(sizes.requests)])
        result |= {"http p50 ms": p50, "http p99 ms": p99}

        async def worker() -> None:
            for _ in range(sizes.requests // 16):
                await get_small()

        started = time.perf_counter()
        await asyncio.gather(*[worker() for _ in range(16)])
        result["http req/s (16 at once)"] = (
            sizes.requests // 16 * 16 / (time.perf_counter() - started)
        )

        first_bytes = []
        for _ in range(20):
            started = time.perf_counter()
            async with session.get(f"{target.base}v1/events") as answer:
                await answer.content.readany()
                first_bytes.append(time.perf_counter() - started)
                await answer.read()
        result["sse first byte p50 ms"] = _percentiles(first_bytes)[0]

        started = time.perf_counter()
        received = 0
        async with session.get(f"{target.base}v1/big") as answer:
            async for chunk in answer.content.iter_any():
                received += len(chunk)
        assert received == BIG_BYTES
        result["stream MB/s"] = BIG_BYTES / 1e6 / (time.perf_counter() - started)

        round_trips = await _round_trips(session, target.base, sizes.frames)
        p50, p99 = _percentiles(round_trips)
        return result | {"ws p50 ms": p50, "ws p99 ms": p99}


async def _round_trips(session: aiohttp.ClientSession, base: str, frames: int) -> list[float]:
    async with session.ws_connect(base) as socket:
        await socket.receive()
        await socket.send_json({"type": "req", "id": "c", "method": "connect", "params": {}})
        await socket.receive()
        seconds = []
        for _ in range(frames):
            started = time.perf_counter()
            await socket.send_str(FRAME)
            message = await socket.receive()
            seconds.append(time.perf_counter() - started)
            assert message.data == ECHO, message
        return seconds


async def bench(first_port: int, sizes: Sizes) -> dict[str, dict[str, float]]:
    upstream = f"http://127.0.0.1:{first_port}"
    prefix = "/api/containers/ada/proxy/"
    targets = [
        Target("direct", f"{upstream}/", {}),
        Target("ours", f"http://127.0.0.1:{first_port + 1}{prefix}", {AUTH_HEADER: TOKEN}),
        Target("aiohttp", f"http://127.0.0.1:{first_port + 2}/", {}),
    ]
    itself = [sys.executable, __file__, "--upstream", upstream, "--port"]
    with contextlib.ExitStack() as stack:
        for offset, name in enumerate(("upstream", "ours", "aiohttp")):
            stack.enter_context(process([*itself, str(first_port + offset), "--serve", name]))
        if nginx := shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin"):
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            config = Path(folder) / "nginx.conf"
            config.write_text(
                NGINX.format(folder=folder, upstream=f"127.0.0.1:{first_port}", port=first_port + 3)
            )
            stack.enter_context(process([nginx, "-c", str(config)]))
            targets.append(Target("nginx", f"http://127.0.0.1:{first_port + 3}/", {}))
        for target in targets:
            await _until_up(target)
        rounds: dict[str, list[dict[str, float]]] = {target.name: [] for target in targets}
        for number in range(sizes.rounds):
            # Each round begins with another target, so that the order varies.
            for target in targets[number % len(targets) :] + targets[: number % len(targets)]:
                rounds[target.name].append(await measure(target, sizes))
    return {
        name: {figure: statistics.median(r[figure] for r in results) for figure in results[0]}
        for name, results in rounds.items()
    }


async def _until_up(target: Target) -> None:
    async with AsyncExitStack() as stack, asyncio.timeout(20):
        session = await stack.enter_async_context(aiohttp.ClientSession(headers=target.headers))
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(f"{target.base}v1/small") as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.1)


def table(results: dict[str, dict[str, float]]) -> str:
    """A line per figure and a column per target, with the ratio to `direct` in brackets."""
    names = list(results)
    lines = [f"{'':26}" + "".join(f"{name:>20}" for name in names)]
    for figure, direct in results["direct"].items():
        cells = []
        for name in names:
            value = results[name][figure]
            ratio = "" if name == "direct" else f" ({value / direct:.2f}×)"
            cells.append(f"{f'{value:,.2f}{ratio}':>20}")
        lines.append(f"{figure:26}" + "".join(cells))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--requests", type=int, default=1000, help="requests of each kind per round"
    )
    parser.add_argument("--frames", type=int, default=2000, help="round trips per round")
    parser.add_argument("--port", type=int, default=26100, help="the first of four ports")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", choices=["upstream", "ours", "aiohttp"], help=argparse.SUPPRESS)
    parser.add_argument("--upstream", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        serve: dict[str, Callable[[], Coroutine[None, None, None]]] = {
            "upstream": lambda: serve_upstream(options.port),
            "ours": lambda: serve_ours(options.port, options.upstream),
            "aiohttp": lambda: serve_aiohttp_peer(options.port, options.upstream),
        }
        uvloop.run(serve[options.serve]())
        return
    sizes = Sizes(options.rounds, options.requests, options.frames)
    results = uvloop.run(bench(options.port, sizes))
    print(json.dumps(results, indent=2) if options.json else table(results))


if __name__ == "__main__":
    main()
