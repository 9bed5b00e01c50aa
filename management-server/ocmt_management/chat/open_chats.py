"""Counts the open chats of each user, to limit them."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

MAX_PER_USER = 16


class OpenChats:
    def __init__(self) -> None:
        self._open: Counter[str] = Counter()

    @contextmanager
    def add(self, user_id: str) -> Iterator[bool]:
        """Count a chat during the block; yields whether the user is within the limit."""
        self._open[user_id] += 1
        try:
            yield self._open[user_id] <= MAX_PER_USER
        finally:
            self._open[user_id] -= 1
            if not self._open[user_id]:
                del self._open[user_id]
