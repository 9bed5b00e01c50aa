"""Serves an ASGI application with uvicorn and the agent server's socket options."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from ocmt_agent.proxy.server_options import socket_options
from ocmt_agent.runtime.base import Endpoint
from ocmt_common.bounded_http import BoundedHttp
from starlette.types import ASGIApp

MAX_FRAME_BYTES = 65536


@asynccontextmanager
async def serving(
    app: ASGIApp,
    *,
    host: str = "127.0.0.1",
    ping_interval_s: float | None = None,
    http: type[asyncio.Protocol] = BoundedHttp,
) -> AsyncIterator[Endpoint]:
    options = socket_options(max_frame_bytes=MAX_FRAME_BYTES)
    if ping_interval_s is not None:
        options["ws_ping_interval"] = ping_interval_s
    listener = socket.create_server((host, 0))
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            http=http,
            log_config=None,
            lifespan="off",
            timeout_graceful_shutdown=1,
            **options,
        )
    )
    # The socket is already listening, so early requests wait.
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield Endpoint(host, listener.getsockname()[1])
    finally:
        server.should_exit = True
        await task
        listener.close()
