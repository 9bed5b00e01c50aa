"""Counts each user's open chats, to bound them."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

MAX_PER_USER = 16


class OpenChats:
    def __init__(self) -> None:
        self._open: Counter[str] = Counter()

    @contextmanager
    def add(self, user_id: str) -> Iterator[bool]:
        """Count one more chat during the block; yields whether the count is within the bound."""
        self._open[user_id] += 1
        try:
            yield self._open[user_id] <= MAX_PER_USER
        finally:
            self._open[user_id] -= 1
            if not self._open[user_id]:
                del self._open[user_id]
