"""Ends a request's wait for a decision when the agent cancels the request.

A client cancels with a notification and may keep the connection open, as OpenClaw 2026.9.6 does
when its user stops a turn. It never reads the response to a cancelled request, so the outcome has
to be delivered to the conversation instead.
"""

import asyncio
import hashlib
from collections.abc import Coroutine

from ocmt_common import bounded_json
from ocmt_common.bounded_json import NotJson

from ocmt_management.tools.messages import Message

GIVEN_UP = "notifications/cancelled"
_Key = tuple[str, bytes]


def digest_of(path: str, request_id: bytes) -> bytes:
    """Identifies a request among those of one user; `path` is the server's slug, or empty."""
    return hashlib.sha256(b"\0".join((path.encode(), request_id))).digest()


class HeldRequests:
    """Requests that wait for a decision, by user, path and request id.

    Ids are unique only within a client's session, and an agent may have several sessions. So a
    cancellation ends all waits with its id; their calls remain to be decided.
    """

    def __init__(self) -> None:
        self._holds: dict[_Key, set[asyncio.Task[bytes]]] = {}

    async def hold(
        self, user_id: str, request: bytes, waiting: Coroutine[None, None, bytes]
    ) -> bytes | None:
        """Await `waiting` and return its outcome; `None` if the agent cancels the request first.

        `waiting` is then cancelled.
        """
        key = (user_id, request)
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

    def given_up(self, user_id: str, request: bytes) -> bool:
        """End the waits of a request that the agent gave up; whether there are any here."""
        holds = self._holds.get((user_id, request), set())
        for hold in holds:
            hold.cancel()
        return bool(holds)


def given_up_by(path: str, message: Message) -> bytes | None:
    """The request that a notification gives up; `None` for other notifications."""
    if message.method != GIVEN_UP:
        return None
    try:
        request_id = bounded_json.members(message.params).get("requestId", b"")
    except NotJson:
        return None
    return digest_of(path, bytes(request_id))
