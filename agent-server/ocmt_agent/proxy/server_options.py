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
    """The options of every listener with the proxy's WebSocket route."""
    return {
        # This implementation stops reading while a frame waits for the application (backpressure).
        "ws": Socket,
        "ws_max_size": max_frame_bytes,
        # Pings keep the way through routers open. A missing pong means nothing: while a caller's
        # frame waits for a wake, its pongs wait behind it. A dead peer is TCP's to find.
        "ws_ping_interval": 20.0,
        "ws_ping_timeout": None,
        # Frames are small and go to a neighbour: compressing costs more than it saves.
        "ws_per_message_deflate": False,
    }
