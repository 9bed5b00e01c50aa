"""A real process on stdio that does what no tool server should: only its own calls fail."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from ocmt_agent.clock import SystemClock
from ocmt_agent.tool_servers.containers import Launch, Package
from ocmt_agent.tool_servers.stdio_session import (
    AnswerTooLarge,
    SessionEnded,
    StdioSession,
    TimedOut,
)
from ocmt_testing.agent_server.local_tool_containers import LocalToolContainers

PACKAGE = Package("tool", "1.0.0", "sha512-x")
WITHIN_S = 30.0


@asynccontextmanager
async def session(
    *arguments: str, secrets: tuple[str, ...] = (), **environment: str
) -> AsyncIterator[tuple[StdioSession, LocalToolContainers]]:
    containers = LocalToolContainers()
    launch = Launch("ada", "one", 1, PACKAGE, arguments, environment)
    opened = StdioSession(await containers.start(launch), clock=SystemClock(), secrets=secrets)
    try:
        yield opened, containers
    finally:
        await opened.end("the test is over")
        assert not containers.running


async def call(
    opened: StdioSession, name: str, *, within_s: float = WITHIN_S, **arguments: Any
) -> str:
    params = json.dumps({"name": name, "arguments": arguments}).encode()
    outcome = json.loads(
        b"{" + await opened.request("tools/call", params, within_s=within_s) + b"}"
    )
    return str(outcome["result"]["content"][0]["text"])


async def serves(opened: StdioSession) -> None:
    assert await call(opened, "echo", text="still here") == "still here"


async def test_calls_at_once_get_each_their_own_answer() -> None:
    async with session() as (opened, _):
        await opened.initialize(within_s=WITHIN_S)
        assert json.loads(opened.initialized)["protocolVersion"] == "2025-11-25"
        texts = [f"text {number}" for number in range(50)]
        late = asyncio.create_task(call(opened, "later", s=0.2))
        assert await asyncio.gather(*(call(opened, "echo", text=one) for one in texts)) == texts
        assert await late == "late"
        assert opened.waiting == 0


@pytest.mark.parametrize(
    ("tool", "answer"),
    [("twice", "one"), ("unknown", "own"), ("garbage", "after garbage"), ("notify", "notified")],
)
async def test_what_was_not_asked_for_is_passed_over(tool: str, answer: str) -> None:
    async with session() as (opened, _):
        assert await call(opened, tool) == answer
        await serves(opened)


async def test_parameters_over_several_lines_are_one_message() -> None:
    async with session() as (opened, _):
        params = b'{\r\n "name": "echo",\n "arguments": {"text": "a\\nb"}\n}'
        outcome = await opened.request("tools/call", params, within_s=WITHIN_S)
        assert json.loads(b"{" + outcome + b"}")["result"]["content"][0]["text"] == "a\nb"


async def test_an_error_of_the_server_is_passed_on() -> None:
    async with session() as (opened, _):
        outcome = await opened.request("tools/call", b'{"name":"error"}', within_s=WITHIN_S)
        assert json.loads(b"{" + outcome + b"}") == {
            "error": {"code": -32602, "message": "no such tool"}
        }


@pytest.mark.parametrize(
    "method", ["sampling/createMessage", "elicitation/create", "roots/list", "x" * 900]
)
async def test_its_own_requests_are_refused(method: str) -> None:
    async with session() as (opened, _):
        reply = json.loads(await call(opened, "ask", method=method))
        assert (reply["id"], reply["error"]["code"]) == ("mine", -32601)
        ping = json.loads(await call(opened, "ask", method="ping"))
        assert (ping["id"], ping["result"]) == ("mine", {})


@pytest.mark.parametrize("size", [5 * 1024 * 1024, 10 * 1024 * 1024])
async def test_an_answer_that_is_too_large_fails_that_call_alone(size: int) -> None:
    async with session() as (opened, _):
        other = asyncio.create_task(call(opened, "later", s=0.5))
        with pytest.raises(AnswerTooLarge):
            await call(opened, "big", bytes=size)
        assert await other == "late"
        assert len(await call(opened, "echo", text="x" * 3_000_000)) == 3_000_000


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("big", {"bytes": 100 * 1024 * 1024}),
        ("flood-stdout", {}),
        ("flood-stderr", {}),
        ("flood-requests", {}),
    ],
)
async def test_a_flood_ends_the_server(tool: str, arguments: dict[str, Any]) -> None:
    async with session() as (opened, containers):
        other = asyncio.create_task(call(opened, "never"))
        ticks = asyncio.create_task(longest_pause_s())
        with pytest.raises(SessionEnded, match="32 MB that are no answer"):
            await call(opened, tool, **arguments)
        with pytest.raises(SessionEnded):
            await other
        await opened.end("")
        ticks.cancel()
        (paused,) = await asyncio.gather(ticks, return_exceptions=True)
        assert isinstance(paused, asyncio.CancelledError)
        assert not containers.running
        with pytest.raises(SessionEnded, match="32 MB"):
            await call(opened, "echo", text="x")


async def longest_pause_s() -> None:
    """Fail if the loop, which serves all users, stands still for long."""
    loop = asyncio.get_running_loop()
    while True:
        before_s = loop.time()
        await asyncio.sleep(0.01)
        assert loop.time() - before_s < 1


async def test_no_answer_at_all_ends_the_server() -> None:
    async with session() as (opened, containers):
        with pytest.raises(SessionEnded, match="answered nothing"):
            await call(opened, "never", within_s=0.3)
        assert not containers.running


async def test_one_call_without_an_answer_is_given_up_and_the_server_told() -> None:
    async with session() as (opened, _):
        waiting = asyncio.create_task(call(opened, "never", within_s=0.5))
        await asyncio.sleep(0)
        await serves(opened)
        with pytest.raises(TimedOut):
            await waiting
        await serves(opened)
        assert opened.last_output == ["cancelled 1"]


async def test_a_caller_that_leaves_is_told_to_the_server() -> None:
    async with session() as (opened, _):
        leaving = asyncio.create_task(call(opened, "later", s=0.2))
        await asyncio.sleep(0)
        await serves(opened)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        assert opened.waiting == 0
        await serves(opened)
        assert opened.last_output == ["cancelled 1"]
        await asyncio.sleep(0.3)  # its answer, after it was given up
        await serves(opened)


async def test_a_server_that_ends_in_a_call_says_why_without_its_key() -> None:
    key = "sk-0123456789"
    async with session(secrets=(key,), KEY=key) as (opened, _):
        assert await call(opened, "environment", variable="KEY") == key
        other = asyncio.create_task(call(opened, "never"))
        with pytest.raises(SessionEnded, match="exit code 3"):
            await call(opened, "exit", code=3, text=f"bad key {key}\n\x1b[31mno\n\nlast")
        with pytest.raises(SessionEnded, match="exit code 3"):
            await other
        assert opened.last_output == ["bad key •••", "[31mno", "last"]


@pytest.mark.parametrize(
    ("at_start", "reason"),
    [
        ("exit", "exit code 1"),
        ("silent", "did not answer|answered nothing"),
        ("refuse", "refused to start"),
        ("garbage", "32 MB that are no answer"),
    ],
)
async def test_a_server_that_does_not_start_says_why(at_start: str, reason: str) -> None:
    async with session(at_start) as (opened, _):
        within_s = 0.3 if at_start == "silent" else WITHIN_S
        with pytest.raises(SessionEnded, match=reason):
            await opened.initialize(within_s=within_s)
        assert (opened.last_output != []) == (at_start == "exit")


async def test_a_server_that_reads_nothing_delays_no_other_call_for_ever() -> None:
    async with session() as (opened, _):
        await call(opened, "echo", text="x")
        stuck = [call(opened, "flood-requests") for _ in range(1)]
        large = [
            opened.request("x", b'{"x":"' + b"x" * 1_000_000 + b'"}', within_s=2) for _ in range(8)
        ]
        for outcome in await asyncio.gather(*stuck, *large, return_exceptions=True):
            assert isinstance(outcome, SessionEnded | TimedOut)
