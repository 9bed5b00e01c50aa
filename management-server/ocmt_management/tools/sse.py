"""Reads server-sent events of tool servers, up to a size limit, and writes events. Pure."""

from collections.abc import AsyncIterator


class TooMuch(ValueError):
    """The stream has more bytes than its limit."""


async def blocks(
    chunks: AsyncIterator[bytes], *, max_bytes: int
) -> AsyncIterator[tuple[bytes, bytes]]:
    """`(lines, data)` of each event as it arrives; each line ends with a line feed.

    A block of comments has empty data. `max_bytes` limits the whole stream. Raises `TooMuch`.
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
        # A carriage return at the end may be the first half of a CRLF.
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
    """The data of each event as it arrives, skipping those without. Raises `TooMuch`."""
    async for _, data in blocks(chunks, max_bytes=max_bytes):
        if data:
            yield data


async def whole(chunks: AsyncIterator[bytes], *, max_bytes: int) -> bytes:
    """Read a whole stream. Raises `TooMuch`."""
    parts: list[bytes] = []
    received = 0
    async for chunk in chunks:
        received += len(chunk)
        if received > max_bytes:
            raise TooMuch
        parts.append(chunk)
    return b"".join(parts)


def event(message: bytes) -> bytes:
    """A JSON message as an event. Line breaks between its values become spaces."""
    if b"\n" in message or b"\r" in message:
        message = message.replace(b"\r", b" ").replace(b"\n", b" ")
    return b"event: message\r\ndata: " + message + b"\r\n\r\n"
