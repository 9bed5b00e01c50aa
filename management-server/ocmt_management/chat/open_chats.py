"""How many chats each user has open: enough for every tab, not enough to wear the server out."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

MOST_PER_USER = 16


class OpenChats:
    def __init__(self) -> None:
        self._open: Counter[str] = Counter()

    @contextmanager
    def another(self, user_id: str) -> Iterator[bool]:
        """Count one more while the block runs; gives whether that is still within the bound."""
        self._open[user_id] += 1
        try:
            yield self._open[user_id] <= MOST_PER_USER
        finally:
            self._open[user_id] -= 1
            if not self._open[user_id]:
                del self._open[user_id]
