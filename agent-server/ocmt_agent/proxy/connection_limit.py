"""Limits the open connections of each client address at the relay.

Every container has its own address. Without the limit, a container that only opens sockets could
use up this server's file descriptors, and no agent could be woken any more.
"""

import asyncio
from collections import Counter

from ocmt_common.bounded_http import BoundedHttp

MOST_PER_ADDRESS = 512
"""A busy agent has a few connections; agents of the process runtime share one address."""


def bounded(most: int = MOST_PER_ADDRESS) -> type[asyncio.Protocol]:
    """An HTTP protocol class for uvicorn that aborts connections above `most` per address."""
    held: Counter[str] = Counter()

    class Bounded(BoundedHttp):
        _address = ""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            peer = transport.get_extra_info("peername")
            self._address = str(peer[0]) if peer else ""
            held[self._address] += 1
            if held[self._address] > most:
                transport.abort()

        def connection_lost(self, exc: Exception | None) -> None:
            self._let_go()
            super().connection_lost(exc)

        def handle_websocket_upgrade(self) -> None:
            self._let_go()  # the WebSocket protocol owns it from here, and refuses it
            super().handle_websocket_upgrade()

        def _let_go(self) -> None:
            held[self._address] -= 1
            if not held[self._address]:
                del held[self._address]

    return Bounded
