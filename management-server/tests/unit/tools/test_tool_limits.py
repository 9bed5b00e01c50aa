"""Calls of one connection run in turn: some at once, others wait, too many are refused."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from ocmt_management.tools import limits as limits_module
from ocmt_management.tools.limits import (
    MAX_CALLS_PER_CONNECTION,
    MAX_REQUESTS_PER_USER,
    MAX_STREAMS_PER_CONNECTION,
    MAX_WAITING_PER_CONNECTION,
    CallLimits,
)
from ocmt_management.tools.trouble import NotSent, Trouble


class Calls:
    """Calls to one server, which run until they are let go."""

    def __init__(self, limits: CallLimits, key: str = "ada's notes") -> None:
        self._limits = limits
        self._key = key
        self.running: list[int] = []
        self.waited: dict[int, bool] = {}
        self._ends: dict[int, asyncio.Event] = {}

    def begin(self, number: int) -> asyncio.Task[None]:
        self._ends[number] = asyncio.Event()
        return asyncio.create_task(self._call(number))

    def end(self, number: int) -> None:
        self._ends[number].set()

    async def _call(self, number: int) -> None:
        async with self._limits.call(self._key, "Notes") as waited:
            self.waited[number] = waited
            self.running.append(number)
            await self._ends[number].wait()
            self.running.remove(number)


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_calls_beyond_those_at_once_run_in_turn() -> None:
    calls = Calls(CallLimits())
    tasks = [calls.begin(number) for number in range(11)]
    await settled()
    assert calls.running == list(range(MAX_CALLS_PER_CONNECTION))

    calls.end(3)
    await settled()
    assert calls.running == [0, 1, 2, 4, 5, 6, 7, 8]
    for number in range(11):
        calls.end(number)
    await asyncio.gather(*tasks)
    assert [n for n, waited in calls.waited.items() if waited] == [8, 9, 10]


async def test_beyond_those_that_may_wait_a_call_is_refused_at_once() -> None:
    limits = CallLimits()
    calls = Calls(limits)
    most = MAX_CALLS_PER_CONNECTION + MAX_WAITING_PER_CONNECTION
    tasks = [calls.begin(number) for number in range(most)]
    await settled()

    with pytest.raises(NotSent, match=f"{most} calls to Notes run or wait already"):
        async with limits.call("ada's notes", "Notes"):
            pass
    async with limits.call("bob's notes", "Notes") as waited:
        assert not waited, "another's calls are not held up"
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert limits._turns == {}


async def test_a_call_whose_turn_does_not_come_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits_module, "LONGEST_WAIT_S", 0.02)
    limits = CallLimits()
    calls = Calls(limits)
    tasks = [calls.begin(number) for number in range(MAX_CALLS_PER_CONNECTION)]
    await settled()

    with pytest.raises(NotSent, match="was not sent"):
        await calls.begin(99)
    calls.end(0)
    await settled()
    async with limits.call("ada's notes", "Notes") as waited:
        assert not waited
    for number in range(1, MAX_CALLS_PER_CONNECTION):
        calls.end(number)
    await asyncio.gather(*tasks)


async def test_a_call_that_was_given_up_while_it_waited_takes_no_turn() -> None:
    calls = Calls(CallLimits())
    tasks = [calls.begin(number) for number in range(MAX_CALLS_PER_CONNECTION + 2)]
    await settled()
    tasks[MAX_CALLS_PER_CONNECTION].cancel()
    calls.end(0)
    await settled()

    assert calls.running == [*range(1, MAX_CALLS_PER_CONNECTION), MAX_CALLS_PER_CONNECTION + 1]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_streams_do_not_wait_and_requests_of_a_user_are_bounded() -> None:
    limits = CallLimits()
    async with AsyncExitStack() as stack:
        for _ in range(MAX_STREAMS_PER_CONNECTION):
            stack.enter_context(limits.stream("ada's notes", "Notes"))
        with pytest.raises(Trouble, match="streams of Notes are open"):
            stack.enter_context(limits.stream("ada's notes", "Notes"))
        for _ in range(MAX_REQUESTS_PER_USER):
            stack.enter_context(limits.request("ada"))
        with pytest.raises(NotSent, match="requests of this agent are under way"):
            stack.enter_context(limits.request("ada"))
        stack.enter_context(limits.request("bob"))
    assert limits.under_way() == 0
