"""Limits on one user's concurrent requests and calls, and on the size of servers' answers."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TypeVar

from ocmt_management.tools import trouble
from ocmt_management.tools.trouble import Kind, NotSent

Key = TypeVar("Key")

MAX_CALLS_PER_CONNECTION = 8
MAX_WAITING_PER_CONNECTION = 16
LONGEST_WAIT_S = 15.0
"""With `CALL_TIMEOUT_S`, below the 120 s after which OpenClaw gives up a call."""
MAX_STREAMS_PER_CONNECTION = 8
MAX_REQUESTS_PER_USER = 32
"""More than the calls that may wait for one person's decision: others still run meanwhile."""
CALL_TIMEOUT_S = 100.0
LIST_TIMEOUT_S = 15.0
MAX_RESULT_BYTES = 4 * 1024 * 1024
MAX_RESULT_VALUES = 400_000
MAX_LIST_BYTES = 4 * 1024 * 1024
MAX_LIST_PAGES = 20
MAX_EXTRAS_BYTES = 256 * 1024


class CallLimits:
    def __init__(self) -> None:
        self._turns: dict[object, _Turns] = {}
        self._streams: Counter[object] = Counter()
        self._requests: Counter[str] = Counter()

    @asynccontextmanager
    async def call(self, key: object, name: str) -> AsyncIterator[bool]:
        """One call to a server, which may have to wait for its turn; yields whether it waited.

        Raises `NotSent` when too many wait, or its turn does not come in time.
        """
        turns = self._turns.get(key)
        if turns is None:
            turns = self._turns[key] = _Turns()
        if turns.calls >= MAX_CALLS_PER_CONNECTION + MAX_WAITING_PER_CONNECTION:
            raise trouble.too_many_calls(name, turns.calls)
        turns.calls += 1
        try:
            waits = turns.free.locked()
            try:
                async with asyncio.timeout(LONGEST_WAIT_S):
                    await turns.free.acquire()
            except TimeoutError as error:
                raise trouble.too_many_calls(name, turns.calls) from error
            try:
                yield waits
            finally:
                turns.free.release()
        finally:
            turns.calls -= 1
            if not turns.calls:
                del self._turns[key]

    @contextmanager
    def stream(self, key: object, name: str) -> Iterator[None]:
        """Count one open stream to a server for the block.

        Raises `Trouble` when too many are open.
        """
        if self._streams[key] >= MAX_STREAMS_PER_CONNECTION:
            raise trouble.too_many_streams(name, MAX_STREAMS_PER_CONNECTION)
        with _counted(self._streams, key):
            yield

    @contextmanager
    def request(self, user_id: str) -> Iterator[None]:
        """Count one request of a user's agent for the block.

        Raises `NotSent` when too many are under way.
        """
        if self._requests[user_id] >= MAX_REQUESTS_PER_USER:
            raise NotSent(
                Kind.LIMIT,
                f"{MAX_REQUESTS_PER_USER} requests of this agent are under way. Wait until one of "
                "them is done.",
            )
        with _counted(self._requests, user_id):
            yield

    def under_way(self) -> int:
        return self._requests.total()


class _Turns:
    """The calls of one connection: those that run and, in the order they came, those that wait."""

    def __init__(self) -> None:
        self.free = asyncio.Semaphore(MAX_CALLS_PER_CONNECTION)
        self.calls = 0


@contextmanager
def _counted(counter: Counter[Key], key: Key) -> Iterator[None]:
    counter[key] += 1
    try:
        yield
    finally:
        counter[key] -= 1
        if not counter[key]:
            del counter[key]
