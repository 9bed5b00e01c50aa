"""Notifies waiting tasks of this process when a user's approvals change."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class Watchers:
    def __init__(self) -> None:
        self._events: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    @contextmanager
    def watch(self, user_id: str) -> Iterator[asyncio.Event]:
        """An event that `notify` sets for this user. The watcher clears it."""
        event = asyncio.Event()
        self._events[user_id].add(event)
        try:
            yield event
        finally:
            self._events[user_id].discard(event)
            if not self._events[user_id]:
                del self._events[user_id]

    def notify(self, user_id: str) -> None:
        for event in self._events.get(user_id, ()):
            event.set()
