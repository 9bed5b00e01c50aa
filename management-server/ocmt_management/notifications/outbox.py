"""Notifications on their way: bounded for each user, so that none delays those of others."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial

from ocmt_management.notifications.push_message import Message

_MOST = 1000
_MOST_OF_USER = 4
_REQUESTS_OF_USER = 4
"""To all of a user's devices, at once."""

_Send = Callable[[str, Message, asyncio.Semaphore], Coroutine[None, None, None]]


@dataclass
class _OfUser:
    under_way: int = 0
    waiting: dict[str, Message] = field(default_factory=dict)
    """Kind → the latest message of it."""
    requests: asyncio.Semaphore = field(
        default_factory=lambda: asyncio.Semaphore(_REQUESTS_OF_USER)
    )


class Outbox:
    def __init__(self, send: _Send) -> None:
        """`send` sends a message to a user's devices, each request with the semaphore held."""
        self._send = send
        self._users: dict[str, _OfUser] = {}
        """Those with a message."""
        self._tasks: set[asyncio.Task[None]] = set()

    def put(self, user_id: str, message: Message) -> None:
        """Send a message now, or once there is room. It replaces one of its kind that waits."""
        of_user = self._users.setdefault(user_id, _OfUser())
        of_user.waiting[str(message.content["kind"])] = message
        self._start()

    async def sent(self) -> None:
        """Wait for the messages that are on their way or wait."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def close(self) -> None:
        """Drop them."""
        for of_user in self._users.values():
            of_user.waiting.clear()
        for task in self._tasks:
            task.cancel()
        await self.sent()

    def _start(self) -> None:
        while len(self._tasks) < _MOST:
            user_id = self._next()
            if user_id is None:
                return
            of_user = self._users[user_id]
            message = of_user.waiting.pop(next(iter(of_user.waiting)))
            of_user.under_way += 1
            task = asyncio.create_task(self._send(user_id, message, of_user.requests))
            self._tasks.add(task)
            task.add_done_callback(partial(self._ended, user_id))

    def _next(self) -> str | None:
        """Of the users with a message that may start, the one with the fewest on their way."""
        under_way = {
            user_id: of_user.under_way
            for user_id, of_user in self._users.items()
            if of_user.waiting and of_user.under_way < _MOST_OF_USER
        }
        return min(under_way, key=under_way.__getitem__, default=None)

    def _ended(self, user_id: str, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        of_user = self._users[user_id]
        of_user.under_way -= 1
        if not of_user.under_way and not of_user.waiting:
            del self._users[user_id]
        self._start()
