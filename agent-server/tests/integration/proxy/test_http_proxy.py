"""The HTTP proxy in front of a gateway's double, over real sockets."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import aiohttp
import pytest
from ocmt_agent.decisions.activity import ActivityKind
from ocmt_agent.gateway.admin import GatewayAdmin
from ocmt_agent.proxy.forwarding import open_session
from ocmt_agent.proxy.routes import proxy_routes
from ocmt_agent.runtime.base import Endpoint
from ocmt_common.problems import Problem
from ocmt_testing.agent_server.awake import GATEWAY_TOKEN, AlwaysAwake
from ocmt_testing.agent_server.serving import serving
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

Handler = Callable[[Request], Awaitable[Response]]
MAX_BODY_BYTES = 1000


class Proxied:
    def __init__(self, base: str, waking: AlwaysAwake, session: aiohttp.ClientSession) -> None:
        self.base = base
        self.waking = waking
        self.session = session

    def url(self, path: str, *, user: str = "ada") -> str:
        return f"{self.base}/api/containers/{user}/proxy/{path}"


@asynccontextmanager
async def proxied(handler: Handler) -> AsyncIterator[Proxied]:
    methods = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD"]
    gateway = Starlette(routes=[Route("/{path:path}", handler, methods=methods)])
    async with serving(gateway) as endpoint, proxy_to(endpoint) as proxy:
        yield proxy


@asynccontextmanager
async def proxy_to(endpoint: Endpoint) -> AsyncIterator[Proxied]:
    waking = AlwaysAwake(endpoint)
    async with open_session() as passing_on, aiohttp.ClientSession() as caller:
        routes = proxy_routes(
            waking, passing_on, GatewayAdmin(passing_on), max_body_bytes=MAX_BODY_BYTES
        )
        async with serving(Starlette(routes=routes)) as proxy:
            yield Proxied(proxy.url, waking, caller)


async def tell(request: Request) -> Response:
    return JSONResponse(
        {
            "method": request.method,
            "path": request.url.path,
            "query": request.url.query,
            "headers": dict(request.headers),
            "body": (await request.body()).decode(),
        },
        headers={"set-cookie": "theirs=1", "x-kept": "yes", "connection": "x-hop", "x-hop": "1"},
    )


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
async def test_method_path_query_and_body_arrive_unchanged(method: str) -> None:
    async with (
        proxied(tell) as proxy,
        proxy.session.request(method, proxy.url("v1/x?a=1&b=%20"), data=b"hello") as answer,
    ):
        told = await answer.json()

    assert (told["method"], told["path"], told["query"]) == (method, "/v1/x", "a=1&b=%20")
    assert told["body"] == "hello"


async def test_credentials_are_removed_and_ours_added() -> None:
    theirs = {
        "Authorization": "Bearer stolen",
        "Cookie": "session=1",
        "x-auth-token": "operator",
        "X-Forwarded-For": "1.2.3.4",
        "X-Plain": "kept",
        "Connection": "x-private",
        "X-Private": "1",
    }
    async with (
        proxied(tell) as proxy,
        proxy.session.get(proxy.url("v1/x"), headers=theirs) as answer,
    ):
        headers = (await answer.json())["headers"]

    assert headers["authorization"] == f"Bearer {GATEWAY_TOKEN}"
    assert headers["x-plain"] == "kept"
    for name in ("cookie", "x-auth-token", "x-forwarded-for", "x-private"):
        assert name not in headers


async def test_the_gateway_s_cookies_and_hop_headers_stay_behind() -> None:
    async with proxied(tell) as proxy, proxy.session.get(proxy.url("v1/x")) as answer:
        assert "set-cookie" not in answer.headers
        assert "x-hop" not in answer.headers
        assert answer.headers["x-kept"] == "yes"


async def test_a_compressed_answer_passes_byte_for_byte() -> None:
    packed = gzip.compress(b"hello " * 100)

    async def compressed(_: Request) -> Response:
        return Response(packed, headers={"content-encoding": "gzip"})

    async with (
        proxied(compressed) as proxy,
        aiohttp.ClientSession(auto_decompress=False) as raw,
        raw.get(proxy.url("v1/x")) as answer,
    ):
        assert await answer.read() == packed


async def test_each_chunk_of_a_stream_arrives_before_the_next_is_made() -> None:
    taken = asyncio.Event()

    async def stream(_: Request) -> Response:
        async def chunks() -> AsyncIterator[bytes]:
            yield b"data: one\n\n"
            await taken.wait()
            yield b"data: two\n\n"

        return StreamingResponse(chunks(), media_type="text/event-stream")

    async with proxied(stream) as proxy, proxy.session.get(proxy.url("v1/x")) as answer:
        assert await answer.content.readany() == b"data: one\n\n"
        assert proxy.waking.in_flight == 1
        taken.set()
        assert await answer.content.read() == b"data: two\n\n"


async def test_an_agent_counts_as_in_use_only_while_the_answer_runs() -> None:
    async with proxied(tell) as proxy:
        async with proxy.session.get(proxy.url("v1/x")) as answer:
            await answer.read()
        async with asyncio.timeout(60):
            await proxy.waking.unused.wait()
        assert proxy.waking.wakes[ActivityKind.HTTP] == 1


async def test_a_caller_that_disconnects_ends_the_gateway_s_work() -> None:
    ended = asyncio.Event()

    async def endless(_: Request) -> Response:
        async def chunks() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield b"x" * 1000
                    await asyncio.sleep(0.01)
            finally:
                ended.set()

        return StreamingResponse(chunks())

    async with proxied(endless) as proxy:
        answer = await proxy.session.get(proxy.url("v1/x"))
        await answer.content.readany()
        answer.close()
        async with asyncio.timeout(60):
            await ended.wait()


async def test_an_answer_that_breaks_off_does_not_look_complete() -> None:
    async def die(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(die, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with (
        server,
        proxy_to(Endpoint("127.0.0.1", port)) as proxy,
        proxy.session.get(proxy.url("v1/x")) as answer,
    ):
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()


async def test_an_unreachable_gateway_is_checked_and_tried_once_more() -> None:
    async with proxy_to(Endpoint("127.0.0.1", 1)) as proxy:
        async with proxy.session.get(proxy.url("healthz")) as answer:
            assert answer.status == 502
            assert (await answer.json())["code"] == "gateway-lost"
        assert proxy.waking.doubts == 2


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_request_that_found_no_gateway_is_sent_again_after_a_wake(method: str) -> None:
    async with (
        serving(Starlette(routes=[Route("/{path:path}", tell, methods=["GET", "POST"])])) as there,
        proxy_to(Endpoint("127.0.0.1", 1)) as proxy,
    ):
        proxy.waking.then_at = there
        async with proxy.session.request(method, proxy.url("v1/x"), data=b"pay") as answer:
            assert (await answer.json())["body"] == "pay"


@asynccontextmanager
async def hanging_up_on(requests: list[bytes]) -> AsyncIterator[Endpoint]:
    """A gateway that reads a whole request and ends without an answer."""

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        requests.append(
            head + (await reader.readexactly(3) if b"content-length: 3" in head else b"")
        )
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        yield Endpoint("127.0.0.1", server.sockets[0].getsockname()[1])


async def test_a_post_that_may_have_been_seen_is_not_sent_twice() -> None:
    seen: list[bytes] = []
    async with hanging_up_on(seen) as there, proxy_to(there) as proxy:
        async with proxy.session.post(proxy.url("v1/x"), data=b"pay") as answer:
            assert answer.status == 502
        assert proxy.waking.doubts == 1
    assert len(seen) == 1


async def test_a_get_that_may_have_been_seen_is_sent_again_after_a_wake() -> None:
    seen: list[bytes] = []
    async with hanging_up_on(seen) as there, proxy_to(there) as proxy:
        async with proxy.session.get(proxy.url("v1/x")) as answer:
            assert answer.status == 502
        assert proxy.waking.wakes[ActivityKind.HTTP] == 2
    assert len(seen) > 1


async def test_a_caller_that_disconnects_within_its_body_does_not_mark_the_gateway() -> None:
    async def patient(request: Request) -> Response:
        await request.body()
        return Response()

    async with proxied(patient) as proxy:
        host, port = proxy.base.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            b"POST /api/containers/ada/proxy/v1/x HTTP/1.1\r\nHost: x\r\n"
            b"Content-Length: 500\r\n\r\nonly the start"
        )
        await writer.drain()
        async with asyncio.timeout(60):
            await proxy.waking.used.wait()
        writer.close()
        async with asyncio.timeout(60):
            await proxy.waking.unused.wait()
        assert proxy.waking.doubts == 0


async def test_a_get_with_a_body_does_not_confuse_the_next_request() -> None:
    async with proxied(tell) as proxy:
        for body in (b"GET /v1/smuggled HTTP/1.1\r\n\r\n", b""):
            async with proxy.session.get(proxy.url("v1/x"), data=body) as answer:
                told = await answer.json()
                assert (told["path"], told["body"]) == ("/v1/x", body.decode())


@pytest.mark.parametrize("status", [204, 304])
async def test_an_answer_without_a_body_ends_although_it_names_a_length(status: int) -> None:
    async def bodiless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):  # the connection's end
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: 9\r\nETag: x\r\n\r\n" % status)
        writer.close()

    server = await asyncio.start_server(bodiless, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, proxy_to(Endpoint("127.0.0.1", port)) as proxy:
        async with proxy.session.get(proxy.url("v1/x")) as answer:
            assert answer.status == status
            assert answer.headers["etag"] == "x"
            assert await answer.read() == b""
        await proxy.session.close()  # or the stand-in waits for the connection's end


async def test_a_header_in_utf_8_arrives_as_it_was_sent() -> None:
    async with (
        proxied(tell) as proxy,
        proxy.session.get(proxy.url("v1/x"), headers={"X-Title": "Grüße"}) as answer,
    ):
        told = (await answer.json())["headers"]["x-title"]
        assert told.encode("latin-1").decode() == "Grüße"


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "streamed"])
async def test_a_body_above_the_limit_is_refused(declared: bool) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(30):
            yield b"x" * 100

    async with proxied(tell) as proxy:
        data = b"x" * 3000 if declared else parts()
        async with proxy.session.post(proxy.url("v1/x"), data=data) as answer:
            assert answer.status == 413


async def test_a_failed_wake_is_answered_with_its_own_problem() -> None:
    async with proxied(tell) as proxy:
        proxy.waking.problem = Problem(503, "runtime-unavailable", "Docker is gone.")
        async with proxy.session.get(proxy.url("healthz")) as answer:
            assert answer.status == 503
            assert (await answer.json())["detail"] == "Docker is gone."


async def test_another_user_s_name_reaches_no_agent() -> None:
    async with (
        proxied(tell) as proxy,
        proxy.session.get(proxy.url("healthz", user="bob")) as answer,
    ):
        assert answer.status == 404


async def test_a_redirect_is_passed_on_and_not_followed() -> None:
    async def redirect(_: Request) -> Response:
        return Response(status_code=302, headers={"location": "/elsewhere"})

    async with (
        proxied(redirect) as proxy,
        proxy.session.get(proxy.url("v1/x"), allow_redirects=False) as answer,
    ):
        assert answer.status == 302
        assert answer.headers["location"] == "/elsewhere"


async def test_a_head_request_gets_the_headers_and_no_body() -> None:
    async with proxied(tell) as proxy, proxy.session.head(proxy.url("v1/x")) as answer:
        assert answer.status == 200
        assert await answer.read() == b""
