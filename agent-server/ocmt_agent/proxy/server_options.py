"""uvicorn's options for the proxy's WebSockets."""

import asyncio
from typing import TypedDict

from ocmt_common.sockets import Socket


class SocketOptions(TypedDict):
    """Keyword arguments of `uvicorn.Config`."""

    ws: type[asyncio.Protocol]
    ws_max_size: int
    ws_ping_interval: float
    ws_ping_timeout: None
    ws_per_message_deflate: bool


def socket_options(*, max_frame_bytes: int) -> SocketOptions:
    """The options for each listener that serves the proxy's WebSocket route."""
    return {
        # An implementation with backpressure: it stops reading while a frame waits.
        "ws": Socket,
        "ws_max_size": max_frame_bytes,
        # Pings keep connections through routers open. A missing pong proves nothing: while a
        # caller's frame waits for a wake, its pongs wait behind it. TCP detects dead peers.
        "ws_ping_interval": 20.0,
        "ws_ping_timeout": None,
        # Frames are small and stay in the local network: compression costs more than it saves.
        "ws_per_message_deflate": False,
    }
