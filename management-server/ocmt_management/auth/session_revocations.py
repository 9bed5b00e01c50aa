"""Notifies open sockets when their session ends.

Signing out, revoking a session or suspending its user must close open sockets at once. Only sockets
of this process are notified; other processes notice within a minute (`SocketSession`).
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class SessionRevocations:
    def __init__(self) -> None:
        self._watchers: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    @contextmanager
    def watch(self, session_id: str) -> Iterator[asyncio.Event]:
        """An event that is set when this session ends. Check the session after subscribing."""
        event = asyncio.Event()
        self._watchers[session_id].add(event)
        try:
            yield event
        finally:
            self._watchers[session_id].discard(event)
            if not self._watchers[session_id]:
                del self._watchers[session_id]

    def announce(self, session_ids: Iterable[str]) -> None:
        """Set the events of these sessions, which have ended."""
        for session_id in session_ids:
            for event in self._watchers.get(session_id, ()):
                event.set()
