"""A peer that answers every HTTP request with the same bytes and disconnects."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

_OK = b"HTTP/1.1 200 OK\r\n"

GARBLED: dict[str, bytes] = {
    "nothing": b"",
    "half a status line": b"HTTP/1.",
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
    "every byte": bytes(range(256)),
    "status 0": b"HTTP/1.1 0 No\r\ncontent-length: 2\r\n\r\nok",
    "status 99": b"HTTP/1.1 099 No\r\ncontent-length: 2\r\n\r\nok",
    "status 600": b"HTTP/1.1 600 No\r\ncontent-length: 2\r\n\r\nok",
    "status 999": b"HTTP/1.1 999 No\r\ncontent-length: 2\r\n\r\nok",
    "a switch of protocols": b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
    "a redirect": b"HTTP/1.1 302 Found\r\nlocation: http://[\r\ncontent-length: 0\r\n\r\n",
    "half a head": _OK + b"content-le",
    "a control character in a header": _OK + b"retry-after: a\x01b\r\ncontent-length: 2\r\n\r\nok",
    "NUL in a header": _OK + b"retry-after: a\x00b\r\ncontent-length: 2\r\n\r\nok",
    "an odd header name": _OK + b"retry after: 5\r\ncontent-length: 2\r\n\r\nok",
    "a header that is no text": _OK + b"retry-after: \xff\xfe\r\ncontent-length: 2\r\n\r\nok",
    "a header in UTF-8": _OK + b"retry-after: \xe2\x82\xac\r\ncontent-length: 2\r\n\r\nok",
    "a refusal with a header in UTF-8": (
        b"HTTP/1.1 429 No\r\nretry-after: \xe2\x82\xac\r\ncontent-length: 2\r\n\r\nok"
    ),
    "endless headers": _OK + b"x: y\r\n" * 50_000,
    "a header of a megabyte": _OK + b"x: " + b"y" * 1_000_000 + b"\r\n\r\n",
    "a short body": _OK + b"content-length: 10\r\n\r\nok",
    "a long body": _OK + b"content-length: 1\r\n\r\nokokok",
    "a length below zero": _OK + b"content-length: -1\r\n\r\nok",
    "a length that is none": _OK + b"content-length: two\r\n\r\nok",
    "two lengths": _OK + b"content-length: 2\r\ncontent-length: 3\r\n\r\nok",
    "a length and chunks": (
        _OK + b"content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    ),
    "a chunk that is none": _OK + b"transfer-encoding: chunked\r\n\r\nzz\r\nok",
    "half a chunk": _OK + b"transfer-encoding: chunked\r\n\r\n5\r\nok",
    "a coding that is none": _OK + b"content-encoding: gzip\r\ncontent-length: 2\r\n\r\nok",
    "a refusal in a coding that is none": (
        b"HTTP/1.1 500 No\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\nok"
    ),
    "a body where none is due": b"HTTP/1.1 204 None\r\ncontent-length: 2\r\n\r\nok",
    "no JSON": _OK + b"content-type: application/json\r\ncontent-length: 2\r\n\r\n{]",
    "another JSON": _OK + b"content-type: application/json\r\ncontent-length: 2\r\n\r\n[]",
    "deep JSON": _OK + b"content-type: application/json\r\n\r\n" + b"[" * 100_000,
    "events that are none": _OK
    + b"content-type: text/event-stream\r\n\r\ndata: {\xff\n\nid: \x00\n",
    "a refusal that is a list": b"HTTP/1.1 409 No\r\n\r\n[]",
    "a refusal with odd words": b'HTTP/1.1 409 No\r\n\r\n{"code":5,"detail":null}',
    "a refusal of no known status": b'HTTP/1.1 599 No\r\n\r\n{"code":"x","detail":"why?"}',
    "a redirect with words": b'HTTP/1.1 302 No\r\n\r\n{"code":"x","detail":"why?"}',
}


@asynccontextmanager
async def answering(said: bytes) -> AsyncIterator[str]:
    """Serve a peer that answers with `said`, and yield its URL."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(said)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        host, port = server.sockets[0].getsockname()
        yield f"http://{host}:{port}"
    finally:
        server.close()
