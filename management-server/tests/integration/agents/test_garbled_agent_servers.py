"""An agent server, or another program at its address, sends garbage: a problem with the remedy."""

import asyncio
from collections.abc import AsyncIterator, Awaitable

import pytest
from ocmt_common.problems import Problem
from ocmt_management.agents.client import AgentServer
from ocmt_testing.raw_peer import GARBLED, answering

USER = "0" * 32


async def told(asking: Awaitable[object]) -> Problem | None:
    """The problem that a call raises; `None` if it succeeds."""
    try:
        assert await asking in (None, [])
    except Problem as problem:
        return problem
    return None


async def end_of(events: AsyncIterator[object]) -> None:
    async for _ in events:
        pass


@pytest.mark.parametrize("said", GARBLED.values(), ids=GARBLED.keys())
async def test_any_answer_is_a_problem_that_can_be_shown(said: bytes) -> None:
    async with answering(said) as url:
        server = AgentServer(url, "token")
        try:
            async with asyncio.timeout(30):
                for asking in (
                    server.containers(),
                    server.wake(USER),
                    server.check(),
                    server.provision(USER, "a" * 32),
                    server.open_gateway(USER),
                    end_of(server.events()),
                ):
                    problem = await told(asking)
                    assert problem is None or problem.response().status_code >= 400
        finally:
            await server.close()
