"""A page with nothing but a text box and a line of text, as the least that the machine can do.

Its script grows the line by what arrives on `/stream`: the same text at the same rate as an answer.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

from aiohttp import web
from ocmt_testing.ports import free_ports

_PAGE = """<!doctype html>
<meta name="viewport" content="width=device-width" />
<title>plain</title>
<textarea aria-label="Message"></textarea>
<pre></pre>
<script src="/script.js"></script>
"""
_SCRIPT = """
function listen() {
  const socket = new WebSocket(location.href.replace("http", "ws") + "stream");
  socket.onmessage = (event) => document.querySelector("pre").append(event.data);
  return socket;
}
"""


async def paced(
    tokens: Iterable[str], per_second: int, send: Callable[[str], Awaitable[None]]
) -> None:
    """Send the tokens at this rate; a delay is made up for."""
    loop = asyncio.get_running_loop()
    due = loop.time()
    for token in tokens:
        await send(token)
        due += 1 / per_second
        await asyncio.sleep(max(0.0, due - loop.time()))


@contextlib.asynccontextmanager
async def plain_page(tokens: Iterable[str], per_second: int) -> AsyncIterator[str]:
    """Serve the page; yields its address. `listen()` in it begins the stream."""
    sent = list(tokens)

    async def page(_: web.Request) -> web.Response:
        return web.Response(text=_PAGE, content_type="text/html")

    async def script(_: web.Request) -> web.Response:
        return web.Response(text=_SCRIPT, content_type="text/javascript")

    async def stream(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await paced(sent, per_second, socket.send_str)
        await socket.close()
        return socket

    app = web.Application()
    app.add_routes([web.get("/", page), web.get("/script.js", script), web.get("/stream", stream)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    [port] = free_ports(1)
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield f"http://127.0.0.1:{port}/"
    finally:
        await runner.cleanup()
