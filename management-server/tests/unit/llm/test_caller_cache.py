"""Callers are cached for a few seconds and evicted as soon as something changes."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from ocmt_management.llm.caller_cache import CACHED_FOR, Caller, CallerCache
from ocmt_management.llm.choice import DEMO

ADA, BOB = (Caller(one, DEMO, None, "UTC", limited=False) for one in ("ada", "bob"))


class Directory:
    """Counts the look-ups."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 23, tzinfo=UTC)
        self.callers = CallerCache(lambda: self.now)
        self.asked = 0

    async def find(self, token: str, found: Caller | None = ADA) -> Caller | None:
        async def look_up() -> Caller | None:
            self.asked += 1
            return found

        return await self.callers.find(token, look_up)


@pytest.fixture
def directory() -> Directory:
    return Directory()


async def test_a_caller_is_looked_up_once_in_a_few_seconds(directory: Directory) -> None:
    assert [await directory.find("token") for _ in range(3)] == [ADA] * 3
    assert directory.asked == 1

    directory.now += CACHED_FOR + timedelta(milliseconds=1)
    await directory.find("token")
    assert directory.asked == 2


async def test_each_token_is_its_own(directory: Directory) -> None:
    assert await directory.find("hers", ADA) is ADA
    assert await directory.find("his", BOB) is BOB
    assert await directory.find("hers", BOB) is ADA


async def test_a_token_of_nobody_is_looked_up_every_time(directory: Directory) -> None:
    assert [await directory.find("x", None) for _ in range(3)] == [None] * 3
    assert directory.asked == 3


async def test_a_change_is_known_at_once_and_only_for_that_user(directory: Directory) -> None:
    await directory.find("hers", ADA)
    await directory.find("his", BOB)
    directory.callers.forget("ada")

    assert await directory.find("hers", None) is None
    assert await directory.find("his", None) is BOB


async def test_what_was_read_while_it_changed_is_not_remembered(directory: Directory) -> None:
    reading, changed = asyncio.Event(), asyncio.Event()

    async def slow_look_up() -> Caller | None:
        reading.set()
        await changed.wait()
        return ADA

    first = asyncio.create_task(directory.callers.find("token", slow_look_up))
    await reading.wait()
    directory.callers.forget("ada")
    changed.set()
    assert await first is ADA

    assert await directory.find("token", None) is None


async def test_what_is_remembered_is_bounded(directory: Directory) -> None:
    for number in range(2500):
        await directory.find(f"token-{number}")

    assert len(directory.callers._entries) <= 1000
