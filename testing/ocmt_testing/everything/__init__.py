"""MCP's `server-everything` over HTTP, behind a check of a header, as a hosted server has."""

import asyncio
import json
import os
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

import aiohttp
from aiohttp import web
from ocmt_cli.node import node_binary

from ocmt_testing.npm_programs import installed
from ocmt_testing.ports import free_ports

_PROGRAM = Path("node_modules/@modelcontextprotocol/server-everything/dist/index.js")
_PASSED = frozenset({"accept", "content-type", "mcp-session-id", "mcp-protocol-version"})


class Everything:
    """`url` has the whole server; calls are counted by tool, refused requests as `refused`."""

    def __init__(self, url: str, upstream: str, header: str, key: str) -> None:
        self.url = url
        self.calls: Counter[str] = Counter()
        self._upstream = upstream
        self._header = header
        self._key = key

    async def serve(self, port: int, ready: threading.Event, done: threading.Event) -> None:
        async with aiohttp.ClientSession(trust_env=False) as session:

            async def pass_on(request: web.Request) -> web.StreamResponse:
                return await self._pass_on(request, session)

            app = web.Application()
            app.router.add_route("*", "/mcp", pass_on)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", port).start()
            ready.set()
            await asyncio.to_thread(done.wait)
            await runner.cleanup()

    async def _pass_on(
        self, request: web.Request, session: aiohttp.ClientSession
    ) -> web.StreamResponse:
        if request.headers.get(self._header) != self._key:
            self.calls["refused"] += 1
            return web.Response(status=401)
        body = await request.read()
        message = json.loads(body) if body else {}
        if message.get("method") == "tools/call":
            self.calls[message["params"]["name"]] += 1
        headers = {k: v for k, v in request.headers.items() if k.lower() in _PASSED}
        async with session.request(
            request.method, self._upstream, headers=headers, data=body
        ) as reply:
            answer = web.StreamResponse(status=reply.status)
            for name in ("Content-Type", "Mcp-Session-Id"):
                if name in reply.headers:
                    answer.headers[name] = reply.headers[name]
            await answer.prepare(request)
            async for chunk in reply.content.iter_any():
                await answer.write(chunk)
            return answer


@contextmanager
def everything(header: str, key: str) -> Iterator[Everything]:
    """Serve it on loopback to those who send `key` in `header`."""
    program = installed(__name__, "MCP's server-everything") / _PROGRAM
    own, guarded = free_ports(2)
    ready, done = threading.Event(), threading.Event()
    server = Everything(
        f"http://127.0.0.1:{guarded}/mcp", f"http://127.0.0.1:{own}/mcp", header, key
    )
    running = subprocess.Popen(
        [node_binary(), program, "streamableHttp"],
        env={**os.environ, "PORT": str(own)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    thread = threading.Thread(
        target=asyncio.run, args=(server.serve(guarded, ready, done),), daemon=True
    )
    thread.start()
    try:
        _wait_for(f"http://127.0.0.1:{own}/mcp")
        assert ready.wait(10)
        yield server
    finally:
        done.set()
        thread.join(10)
        running.terminate()
        running.wait()


def _wait_for(url: str) -> None:
    direct = build_opener(ProxyHandler({}))
    deadline = time.monotonic() + 30
    while True:
        try:
            direct.open(url, timeout=5)
        except OSError as error:
            if hasattr(error, "code"):  # any answer of its own, such as 400 without a session
                return
            assert time.monotonic() < deadline, "server-everything does not start"
            time.sleep(0.1)
        else:
            return
