"""ASGI messages of a streamed response, and joining of its chunks."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

Headers = list[tuple[bytes, bytes]]

EVENT_STREAM = "text/event-stream"
UNBUFFERED = {"cache-control": "no-store", "x-accel-buffering": "no"}
"""The headers of a stream: reverse proxies must not buffer it."""
_UNBUFFERED = [(name.encode(), value.encode()) for name, value in UNBUFFERED.items()]
_MAX_BUFFERED_BYTES = 256 * 1024


def start(status: int, headers: Headers) -> dict[str, object]:
    return {"type": "http.response.start", "status": status, "headers": headers + _UNBUFFERED}


def body(content: bytes, *, more: bool) -> dict[str, object]:
    return {"type": "http.response.body", "body": content, "more_body": more}


async def coalesced(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Join the chunks that have already arrived, without waiting for more.

    Providers send a chunk per word; in a burst, forwarding each separately takes most of the time.
    """
    buffered = bytearray()
    more, room = asyncio.Event(), asyncio.Event()

    async def read() -> None:
        async for chunk in chunks:
            buffered.extend(chunk)
            more.set()
            if len(buffered) > _MAX_BUFFERED_BYTES:
                room.clear()
                await room.wait()

    reading = asyncio.create_task(read())
    reading.add_done_callback(lambda _: more.set())
    try:
        while buffered or not reading.done():
            if buffered:
                piece = bytes(buffered)
                buffered.clear()
                room.set()
                yield piece
            else:
                more.clear()
                await more.wait()
        await reading
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
