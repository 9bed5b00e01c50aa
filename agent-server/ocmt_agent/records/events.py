"""Publishes agents' events to the subscribers of `GET /api/events`."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from ocmt_common.agent_api import StateEvent

QUEUE_SIZE = 512
"""A subscriber with more queued events is dropped; it can reconnect and get a new snapshot."""


class Subscription:
    """A subscriber's bounded queue. It ends if the subscriber falls behind or the server stops."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[StateEvent | None] = asyncio.Queue(QUEUE_SIZE + 1)

    def offer(self, event: StateEvent) -> bool:
        """Queue an event; `False` if the queue is full, which ends the subscription."""
        if self._queue.qsize() >= QUEUE_SIZE:
            self.end()
            return False
        self._queue.put_nowait(event)
        return True

    def end(self) -> None:
        if not self._queue.full():
            self._queue.put_nowait(None)

    async def next(self) -> StateEvent | None:
        """Wait for the next event; `None` once the subscription has ended."""
        return await self._queue.get()


class EventHub:
    def __init__(self) -> None:
        self._subscriptions: set[Subscription] = set()
        self._closed = False

    def publish(self, event: StateEvent) -> None:
        slow = {s for s in self._subscriptions if not s.offer(event)}
        self._subscriptions -= slow

    @contextmanager
    def subscribed(self) -> Iterator[Subscription]:
        subscription = Subscription()
        self._subscriptions.add(subscription)
        if self._closed:
            subscription.end()
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)

    def close(self) -> None:
        """End every subscription, so that the server can stop."""
        self._closed = True
        for subscription in self._subscriptions:
            subscription.end()
