"""An order survives a kept connection that the agent server closes just as it is reused."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from ocmt_common.agent_api import Container, HibernationState
from ocmt_management.agents.client import AgentServer, AgentServerUnreachable

USER = "0" * 32
CONTAINER = Container.model_validate(
    {
        "userId": USER,
        "hibernationState": HibernationState.RUNNING,
        "idleMinutes": 0,
        "lastActivity": "2026-01-01T00:00:00Z",
        "lastActivityKind": "http",
        "stateSince": "2026-01-01T00:00:00Z",
        "awakeBecause": [],
        "failure": None,
        "disabled": False,
    }
)
BODY = CONTAINER.model_dump_json(by_alias=True).encode()
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(BODY), BODY)


@asynccontextmanager
async def closing(after: int, *, heads: list[bytes]) -> AsyncIterator[str]:
    """A server that answers `after` requests of a connection and closes it on the next."""

    connections: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answered in range(after + 1):
            try:
                heads.append(await reader.readuntil(b"\r\n\r\n"))
            except asyncio.IncompleteReadError:
                break
            if answered < after:
                writer.write(ANSWER)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(asyncio.create_task(serve(reader, writer)))

    async with await asyncio.start_server(accept, "127.0.0.1") as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await asyncio.gather(*connections)


@pytest.mark.parametrize("order", ["wake", "enable", "disable"])
async def test_an_order_that_met_the_closing_is_given_again(order: str) -> None:
    heads: list[bytes] = []
    async with closing(1, heads=heads) as url:
        server = AgentServer(url, "token")
        try:
            for _ in range(3):
                assert await getattr(server, order)(USER) == CONTAINER
        finally:
            await server.close()
    assert len(heads) == 5  # two of the three met a closing
    assert {head.split(b" HTTP")[0] for head in heads} == {
        f"POST /api/containers/{USER}/{order}".encode()
    }


async def test_a_server_that_always_hangs_up_is_unreachable_after_two_tries() -> None:
    heads: list[bytes] = []
    async with closing(0, heads=heads) as url:
        server = AgentServer(url, "token")
        try:
            with pytest.raises(AgentServerUnreachable):
                await server.wake(USER)
        finally:
            await server.close()
    assert len(heads) == 2
