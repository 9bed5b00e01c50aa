"""Reads a tool server's server-sent events, within bounds, and writes events. Pure."""

from collections.abc import AsyncIterator


class TooMuch(ValueError):
    """The stream has more bytes than its limit."""


async def blocks(
    chunks: AsyncIterator[bytes], *, max_bytes: int
) -> AsyncIterator[tuple[bytes, bytes]]:
    """Each event as it arrives: all its lines, each ended by a line feed, and its data.

    `max_bytes` bounds the whole stream. Raises `TooMuch`. A block of comments has no data.
    """
    pending = bytearray()
    lines: list[bytes] = []
    received = 0
    async for chunk in chunks:
        received += len(chunk)
        if received > max_bytes:
            raise TooMuch
        pending += chunk
        new = pending[-len(chunk) - 1 :]
        if b"\n" not in new and b"\r" not in new:
            continue
        whole = bytes(pending)
        # A carriage return at the end may be the first half of a line's end.
        end = max(whole.rfind(b"\n"), whole.rfind(b"\r", 0, -1)) + 1
        if not end:
            continue
        del pending[:end]
        for line in whole[:end].replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")[:-1]:
            if line:
                lines.append(line)
            elif lines:
                data = [one[5:].removeprefix(b" ") for one in lines if one.startswith(b"data:")]
                yield b"\n".join(lines) + b"\n\n", b"\n".join(data)
                lines = []


async def events(chunks: AsyncIterator[bytes], *, max_bytes: int) -> AsyncIterator[bytes]:
    """The data of each event that has any, as it arrives. Raises `TooMuch`."""
    async for _, data in blocks(chunks, max_bytes=max_bytes):
        if data:
            yield data


async def whole(chunks: AsyncIterator[bytes], *, max_bytes: int) -> bytes:
    """All bytes of a stream. Raises `TooMuch`."""
    parts: list[bytes] = []
    received = 0
    async for chunk in chunks:
        received += len(chunk)
        if received > max_bytes:
            raise TooMuch
        parts.append(chunk)
    return b"".join(parts)


def event(message: bytes) -> bytes:
    """A message as an event; raw line breaks, which JSON may have between values, are folded."""
    if b"\n" in message or b"\r" in message:
        message = message.replace(b"\r", b" ").replace(b"\n", b" ")
    return b"event: message\r\ndata: " + message + b"\r\n\r\n"
