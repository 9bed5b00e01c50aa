"""The relay in front of a management server's double."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from ocmt_agent.proxy.connection_limit import bounded
from ocmt_agent.proxy.forwarding import open_session
from ocmt_agent.proxy.relay import MAX_BODY_BYTES, relay_app
from ocmt_testing.agent_server.serving import serving
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

TOKEN = "an-agent-s-token"


async def tell(request: Request) -> Response:
    return JSONResponse({"path": request.url.path, "headers": dict(request.headers)})


@asynccontextmanager
async def relayed(handler: Callable[[Request], Awaitable[Response]]) -> AsyncIterator[str]:
    management = Starlette(routes=[Route("/{path:path}", handler, methods=["GET", "POST"])])
    async with (
        serving(management) as there,
        open_session() as session,
        serving(relay_app(there.url, TOKEN.__eq__, session)) as here,
    ):
        yield here.url


@pytest.fixture
async def relay() -> AsyncIterator[str]:
    async with relayed(tell) as url:
        yield url


@pytest.fixture
async def agent() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as session:
        yield session


@pytest.mark.parametrize("path", ["/llm/v1/chat/completions", "/mcp", "/mcp/server"])
async def test_an_agent_reaches_its_models_and_tools(
    relay: str, agent: aiohttp.ClientSession, path: str
) -> None:
    async with agent.post(relay + path, json={}, headers={"x-auth-token": "x"}) as answer:
        told = await answer.json()

    assert told["path"] == path
    assert told["headers"]["authorization"] == f"Bearer {TOKEN}"
    assert "x-auth-token" not in told["headers"]


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/api/me",
        "/health",
        "/llm",
        "/mcpx",
        "/llm/%2e%2e/api/me",
        "/llm/..%2fapi",
        "/llm//x",
        "/llm/../api/me",
        "/mcp/./x",
    ],
)
async def test_an_agent_reaches_nothing_else(
    relay: str, agent: aiohttp.ClientSession, path: str
) -> None:
    from yarl import URL

    async with agent.get(URL(relay + path, encoded=True)) as answer:
        assert answer.status == 404
        assert (await answer.json())["code"] == "no-such-path"


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("", 401),
        ("Bearer", 401),
        ("Basic an-agent-s-token", 401),
        (TOKEN, 401),
        # After a 401 OpenClaw would disable its models for minutes.
        ("Bearer wrong", 424),
        (f"Bearer {TOKEN}x", 424),
        (f"bearer {TOKEN[:-1]}", 424),
    ],
)
async def test_without_a_token_of_this_host_s_agents_nothing_is_passed_on(
    relay: str, header: str, status: int
) -> None:
    headers = {"Authorization": header} if header else {}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{relay}/llm/v1/models", headers=headers) as answer,
    ):
        assert answer.status == status


async def test_a_missing_management_server_is_reported(agent: aiohttp.ClientSession) -> None:
    async with (
        open_session() as session,
        serving(relay_app("http://127.0.0.1:1", TOKEN.__eq__, session)) as here,
        agent.post(f"{here.url}/llm/v1/chat/completions", json={}) as answer,
    ):
        assert answer.status == 503
        assert answer.headers["retry-after"] == "5"
        assert (await answer.json())["code"] == "management-unavailable"


async def test_each_piece_of_an_answer_arrives_before_the_next_is_made(
    agent: aiohttp.ClientSession,
) -> None:
    taken = asyncio.Event()

    async def stream(_: Request) -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"data: one\n\n"
            await taken.wait()
            yield b"data: two\n\n"

        return StreamingResponse(pieces(), media_type="text/event-stream")

    async with relayed(stream) as url, agent.post(f"{url}/llm/v1/x", json={}) as answer:
        assert await answer.content.readany() == b"data: one\n\n"
        taken.set()
        assert await answer.content.read() == b"data: two\n\n"


async def test_an_agent_that_stops_listening_stops_the_model(agent: aiohttp.ClientSession) -> None:
    stopped = asyncio.Event()

    async def endless(_: Request) -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield b"data: more\n\n"
                    await asyncio.sleep(0.01)
            finally:
                stopped.set()

        return StreamingResponse(pieces(), media_type="text/event-stream")

    async with relayed(endless) as url:
        answer = await agent.post(f"{url}/llm/v1/x", json={})
        await answer.content.readany()
        answer.close()
        async with asyncio.timeout(60):
            await stopped.wait()


async def test_a_body_no_management_server_would_take_is_refused(
    relay: str, agent: aiohttp.ClientSession
) -> None:
    async with agent.post(
        f"{relay}/llm/v1/x", headers={"Content-Length": str(MAX_BODY_BYTES + 1)}
    ) as answer:
        assert answer.status == 413


async def test_no_socket_opens_at_the_relay(relay: str, agent: aiohttp.ClientSession) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await agent.ws_connect(f"{relay}/mcp")

    assert refused.value.status == 404


async def test_one_address_cannot_hold_every_connection() -> None:
    async def all_of(reader: asyncio.StreamReader) -> bytes:
        """The bytes that arrive until the relay closes the connection."""
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""

    async with (
        open_session() as session,
        serving(
            relay_app("http://127.0.0.1:1", TOKEN.__eq__, session), http=bounded(most=3)
        ) as here,
    ):
        held = [await asyncio.open_connection(here.host, here.port) for _ in range(5)]
        reading = {asyncio.create_task(all_of(reader)): writer for reader, writer in held}
        async with asyncio.timeout(20):
            gone: set[asyncio.Task[bytes]] = set()
            while len(gone) < 2:
                done, _ = await asyncio.wait(
                    reading.keys() - gone, return_when=asyncio.FIRST_COMPLETED
                )
                gone |= done
            for task in reading.keys() - gone:  # these are served
                reading[task].write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            read = await asyncio.gather(*reading)
        assert sorted(said[:8] for said in read) == [b"", b"", *[b"HTTP/1.1"] * 3]

        for _ in range(5):  # a closed connection no longer counts, also after a refused socket
            async with aiohttp.ClientSession() as agent:
                with pytest.raises(aiohttp.WSServerHandshakeError):
                    await agent.ws_connect(f"{here.url}/mcp")
                async with agent.get(f"{here.url}/llm/v1/models") as answer:
                    assert answer.status == 401
