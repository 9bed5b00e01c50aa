"""The SDK's MCP servers on loopback, for synchronous tests."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager

from ocmt_testing.management.mcp_servers import RealServer


@contextmanager
def tool_servers(*credentials: str) -> Iterator[list[RealServer]]:
    """Run a server for each credential, which it requires."""
    ready, done = threading.Event(), threading.Event()
    servers = [RealServer() for _ in credentials]
    for server, credential in zip(servers, credentials, strict=True):
        server.accepted = credential.__eq__

    async def serve() -> None:
        async with AsyncExitStack() as stack:
            for server in servers:
                await stack.enter_async_context(server.running())
            ready.set()
            await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
    thread.start()
    try:
        assert ready.wait(10)
        yield servers
    finally:
        done.set()
        thread.join(10)
