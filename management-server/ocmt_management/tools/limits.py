"""Limits on one user's concurrent requests and calls, and on the size of servers' answers."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from ocmt_management.tools import trouble
from ocmt_management.tools.trouble import Kind, Trouble

Key = TypeVar("Key")

MAX_CALLS_PER_CONNECTION = 8
MAX_REQUESTS_PER_USER = 16
CALL_TIMEOUT_S = 100.0
"""Below OpenClaw's own timeout of 120 s."""
LIST_TIMEOUT_S = 15.0
MAX_RESULT_BYTES = 4 * 1024 * 1024
MAX_RESULT_VALUES = 400_000
MAX_LIST_BYTES = 4 * 1024 * 1024
MAX_LIST_PAGES = 20
MAX_EXTRAS_BYTES = 256 * 1024


class CallLimits:
    def __init__(self) -> None:
        self._calls: Counter[object] = Counter()
        self._requests: Counter[str] = Counter()

    @contextmanager
    def call(self, key: object, name: str) -> Iterator[None]:
        """Count a call to a server during the block. Raises `Trouble` if there are too many."""
        if self._calls[key] >= MAX_CALLS_PER_CONNECTION:
            raise trouble.too_many_calls(name, MAX_CALLS_PER_CONNECTION)
        with _counted(self._calls, key):
            yield

    @contextmanager
    def stream(self, key: object, name: str) -> Iterator[None]:
        """Count an open stream during the block. Raises `Trouble` if there are too many."""
        with self.call(("stream", key), name):
            yield

    @contextmanager
    def request(self, user_id: str) -> Iterator[None]:
        """Count an agent's request during the block. Raises `Trouble` if there are too many."""
        if self._requests[user_id] >= MAX_REQUESTS_PER_USER:
            raise Trouble(
                Kind.LIMIT,
                f"{MAX_REQUESTS_PER_USER} requests of this agent are under way. Wait until one of "
                "them is done.",
            )
        with _counted(self._requests, user_id):
            yield

    def under_way(self) -> int:
        return self._requests.total()


@contextmanager
def _counted(counter: Counter[Key], key: Key) -> Iterator[None]:
    counter[key] += 1
    try:
        yield
    finally:
        counter[key] -= 1
        if not counter[key]:
            del counter[key]
