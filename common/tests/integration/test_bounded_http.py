"""A listener with `BoundedHttp` on a socket: too large or too slow requests are ended."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import uvicorn
from ocmt_common.bounded_http import BoundedHttp, RequestBounds
from ocmt_common.sockets import Socket
from starlette.types import Receive, Scope, Send

pytestmark = pytest.mark.timeout(60)

PATIENCE_S = 0.25
POST = b"POST /size HTTP/1.1\r\nHost: x\r\n"
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


class Impatient(BoundedHttp):
    bounds = RequestBounds(patience_s=PATIENCE_S)


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers the body's size; `/late` reads it late, `/stream` answers slowly."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close"})
        return
    if scope["path"] == "/late":
        await asyncio.sleep(3 * PATIENCE_S)
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size, more = size + len(message["body"]), message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(3 if scope["path"] == "/stream" else 0):
        await asyncio.sleep(1.5 * PATIENCE_S)
        await send({"type": "http.response.body", "body": b"piece ", "more_body": True})
    await send({"type": "http.response.body", "body": b"%d bytes" % size})


@asynccontextmanager
async def connected(
    protocol: type[asyncio.Protocol],
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app,
        http=protocol,
        ws=Socket,
        log_config=None,
        lifespan="off",
        timeout_graceful_shutdown=1,
        timeout_keep_alive=60,
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    reader, writer = await asyncio.open_connection(*listener.getsockname())
    try:
        yield reader, writer
    finally:
        writer.close()
        server.should_exit = server.force_exit = True
        await serving
        listener.close()


@pytest.fixture
async def patient() -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    async with connected(BoundedHttp) as both:
        yield both


@pytest.fixture
async def impatient() -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    async with connected(Impatient) as both:
        yield both


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def all_of(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionResetError:
        return b"reset"


async def answer(reader: asyncio.StreamReader) -> bytes:
    """One whole answer in chunks, on a connection that stays open."""
    return await reader.readuntil(b"0\r\n\r\n")


async def send_on(writer: asyncio.StreamWriter, first: bytes, endless: bytes) -> int:
    """Send until the server closes, at most 8 MiB; returns how much was sent."""
    writer.write(first)
    sent = len(first)
    try:
        while sent < 8 * 1024 * 1024:
            writer.write(endless)
            await writer.drain()
            sent += len(endless)
            await asyncio.sleep(0)
    except ConnectionError:
        pass
    return sent


@pytest.mark.parametrize(
    ("first", "endless"),
    [
        (POST, b"x: y\r\n" * 1000),
        (POST + b"x: ", b"y" * 8192),
        (POST, b"y" * 8192),
        (b"GET /", b"y" * 8192),
        (b"", b"\r\n" * 4096),
        (UPGRADE, b"x: y\r\n" * 1000),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n", b"x: y\r\n" * 1000),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx: ", b"y" * 8192),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n2;", b"y" * 8192),
    ],
    ids=[
        "headers",
        "a value",
        "a name",
        "a path",
        "empty lines",
        "headers of an upgrade",
        "trailers",
        "a trailer",
        "a chunk's extension",
    ],
)
async def test_what_has_no_end_is_refused_after_64_kib(
    patient: Connection, first: bytes, endless: bytes
) -> None:
    reader, writer = patient
    sending = asyncio.create_task(send_on(writer, first, endless))
    said = await reader.read(12)
    assert said == b"HTTP/1.1 431"
    assert b'"code":"headers-too-large"' in await all_of(reader)
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)


@pytest.mark.parametrize(
    "head",
    [
        POST + b"x: y\r\n" * 100 + b"\r\n",
        POST + b"x: " + b"y" * 65536 + b"\r\n\r\n",
        b"GET /" + b"y" * 65536 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        UPGRADE + b"x: y\r\n" * 100 + b"\r\n",
        UPGRADE + b"x: " + b"y" * 9000 + b"\r\n\r\n",
    ],
    ids=["headers", "a value", "a path", "headers of an upgrade", "a line of an upgrade"],
)
async def test_a_head_that_ends_is_bounded_as_well(patient: Connection, head: bytes) -> None:
    reader, writer = patient
    writer.write(head)

    assert (await all_of(reader)).startswith(b"HTTP/1.1 431")


async def test_a_head_within_the_bounds_is_served(patient: Connection) -> None:
    reader, writer = patient
    cookies = b"".join(b"x: " + b"y" * 600 + b"\r\n" for _ in range(98))
    writer.write(POST + cookies + b"Content-Length: 2\r\n\r\nhi")

    assert b"2 bytes" in await answer(reader)


async def test_large_bodies_and_requests_behind_them_are_served(patient: Connection) -> None:
    reader, writer = patient
    one = POST + b"Content-Length: 300000\r\n\r\n" + b"b" * 300_000
    writer.write(one * 3 + POST + b"Content-Le")
    for _ in range(3):
        assert b"300000 bytes" in await answer(reader)
    writer.write(b"ngth: 2\r\n\r\nhi")

    assert b"2 bytes" in await answer(reader)


@pytest.mark.parametrize(
    "begun",
    [
        b"G",
        b"GET / HTTP/1.1\r\nHost: x\r\n",
        b"\r\n",
        UPGRADE,
        POST + b"Content-Length: 5\r\n\r\n",
        POST + b"Content-Length: 5\r\n\r\nhi",
        POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhi",
        POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx: y",
        POST + b"Content-Length: 2\r\n\r\nhi" + b"GET /",
    ],
    ids=[
        "a letter",
        "a head",
        "an empty line",
        "an upgrade",
        "no body",
        "half a body",
        "half a chunk",
        "half a trailer",
        "a second head",
    ],
)
async def test_what_stops_is_answered_and_closed(impatient: Connection, begun: bytes) -> None:
    reader, writer = impatient
    writer.write(begun)
    started = time.monotonic()
    said = await all_of(reader)

    assert b"HTTP/1.1 408" in said
    assert b'"code":"request-too-slow"' in said
    assert PATIENCE_S * 0.9 < time.monotonic() - started < 10 * PATIENCE_S + 2


async def test_a_silent_connection_is_closed_without_an_answer(
    impatient: Connection,
) -> None:
    assert await all_of(impatient[0]) == b""


@pytest.mark.parametrize(
    ("first", "drop"),
    [
        (b"GET / HTTP/1.1\r\nx: ", b"y"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nx: ", b"y"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n2;", b"y"),
        (POST + b"Content-Length: 2\r\n\r\nhi", b"\r\n"),
    ],
    ids=["a head", "a trailer", "a chunk's extension", "empty lines after a request"],
)
async def test_what_only_drips_is_no_progress(
    impatient: Connection, first: bytes, drop: bytes
) -> None:
    reader, writer = impatient
    writer.write(first)
    reading = asyncio.create_task(all_of(reader))
    while not reading.done():
        writer.write(drop)
        await asyncio.sleep(PATIENCE_S / 10)

    assert b"HTTP/1.1 408" in await reading


async def slow_upload(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    writer.write(POST + b"Content-Length: 10\r\n\r\n")
    for _ in range(10):
        await asyncio.sleep(PATIENCE_S / 2)
        writer.write(b"b")
    return await answer(reader)


async def slow_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    writer.write(b"POST /stream HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n0123456789")
    return await answer(reader)


async def a_body_that_waits_for_us(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> bytes:
    """More than the sockets' buffers: the client must wait until the application reads."""
    size = 16 * 1024 * 1024
    writer.write(b"POST /late HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size)
    writer.write(b"b" * size)
    return (await answer(reader)).replace(b"%d" % size, b"10")


async def a_body_on_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    writer.write(
        b"POST /late HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n"
    )
    assert await reader.readline() == b"HTTP/1.1 100 Continue\r\n"
    writer.write(b"0123456789")
    return await answer(reader)


async def a_connection_used_again(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> bytes:
    for _ in range(3):
        writer.write(POST + b"Content-Length: 10\r\n\r\n0123456789")
        said = await answer(reader)
        await asyncio.sleep(2.5 * PATIENCE_S)
    return said


@pytest.mark.parametrize(
    "using",
    [
        slow_upload,
        slow_answer,
        a_body_that_waits_for_us,
        a_body_on_request,
        a_connection_used_again,
    ],
    ids=lambda using: using.__name__.replace("_", " "),
)
async def test_slow_but_honest_clients_are_served(
    impatient: Connection,
    using: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bytes]],
) -> None:
    assert b"10 bytes" in await using(*impatient)


async def test_an_application_learns_that_the_rest_will_not_come() -> None:
    gone = asyncio.Event()

    async def waiting(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        gone.set()
        await send({"type": "http.response.start", "status": 200, "headers": []})

    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(waiting, http=Impatient, log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    reader, writer = await asyncio.open_connection(*listener.getsockname())
    writer.write(POST + b"Content-Length: 5\r\n\r\nhi")
    async with asyncio.timeout(20):
        said = await all_of(reader)
        await gone.wait()
    writer.close()
    server.should_exit = True
    await serving
    listener.close()

    assert said.count(b"HTTP/1.1") == 1
    assert said.startswith(b"HTTP/1.1 408")


async def test_a_handshake_that_is_none_is_answered(patient: Connection) -> None:
    reader, writer = patient
    writer.write(UPGRADE + b"Content-Length: 3\r\n\r\nabc")

    assert (await all_of(reader)).startswith(b"HTTP/1.1 400")
