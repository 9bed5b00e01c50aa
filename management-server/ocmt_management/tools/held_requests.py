"""Ends a request's wait for a decision when the agent cancels the request.

A client cancels with a notification and may keep the connection open, as OpenClaw 2026.9.6 does
when its user stops a turn. It never reads the response to a cancelled request, so the outcome has
to be delivered to the conversation instead.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress

from ocmt_common import bounded_json
from ocmt_common.bounded_json import NotJson

from ocmt_management.tools.messages import Message

GIVEN_UP = "notifications/cancelled"
_Key = tuple[str, str, bytes]


class HeldRequests:
    """Requests that wait for a decision, by user, path and request id.

    Ids are unique only within a client's session, and an agent may have several sessions. So a
    cancellation ends all waits with its id; their calls remain to be decided.
    """

    def __init__(self) -> None:
        self._holds: dict[_Key, set[asyncio.Task[bytes]]] = {}

    async def hold(
        self, user_id: str, path: str, message: Message, waiting: Coroutine[None, None, bytes]
    ) -> bytes | None:
        """Await `waiting` and return its outcome; `None` if the agent cancels the request first.

        `path` is the server's slug, or empty for the aggregate.
        """
        key = (user_id, path, bytes(message.id))
        hold = asyncio.ensure_future(waiting)
        self._holds.setdefault(key, set()).add(hold)
        try:
            await asyncio.wait({hold})
            return None if hold.cancelled() else hold.result()
        finally:
            hold.cancel()
            self._holds[key].discard(hold)
            if not self._holds[key]:
                del self._holds[key]
            await asyncio.gather(hold, return_exceptions=True)

    def given_up(self, user_id: str, path: str, message: Message) -> None:
        """Handle a notification: a cancellation ends its request's waits, others have no effect."""
        if message.method != GIVEN_UP:
            return
        with suppress(NotJson):
            request_id = bounded_json.members(message.params).get("requestId", b"")
            for hold in self._holds.get((user_id, path, bytes(request_id)), ()):
                hold.cancel()
