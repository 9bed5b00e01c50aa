"""Serves an ASGI application on loopback with uvicorn."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from ocmt_common.bounded_http import BoundedHttp
from ocmt_common.sockets import Socket
from starlette.types import ASGIApp


class Server:
    """A served application that can be stopped and started again at the same address."""

    def __init__(self, app: ASGIApp, *, certificate: Path | None = None) -> None:
        """`certificate`: a file with it and its key, to serve https."""
        self._app = app
        self._certificate = certificate
        self._task: asyncio.Task[None] | None = None
        self._server: uvicorn.Server | None = None
        self._listener: socket.socket | None = None
        self.port = 0

    @property
    def url(self) -> str:
        scheme = "http" if self._certificate is None else "https"
        return f"{scheme}://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listener.getsockname()[1]
        self._server = uvicorn.Server(
            uvicorn.Config(
                self._app,
                log_config=None,
                lifespan="off",
                http=BoundedHttp,
                ws=Socket,
                ssl_certfile=self._certificate,
                ws_max_size=256 * 1024,
                # Server and client share a loop, which may stall for seconds on a busy machine: a
                # connection must not be closed just as the other side uses it again.
                timeout_keep_alive=75,
                timeout_graceful_shutdown=1,
            )
        )
        # The socket is already listening, so early requests wait.
        self._task = asyncio.create_task(self._server.serve(sockets=[self._listener]))

    async def stop(self) -> None:
        if self._task is None or self._server is None or self._listener is None:
            return
        self._server.should_exit = True
        self._server.force_exit = True
        await self._task
        self._listener.close()
        self._task = None


@asynccontextmanager
async def serving(app: ASGIApp, *, certificate: Path | None = None) -> AsyncIterator[Server]:
    server = Server(app, certificate=certificate)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
