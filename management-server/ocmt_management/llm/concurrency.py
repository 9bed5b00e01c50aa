"""Limits the number and total size of one agent's concurrent requests.

The limits leave room for a busy agent, but keep one agent from using up the server's memory (a
request may have many megabytes) and its connections to providers.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ocmt_management.llm import errors

MAX_PER_USER = 16
MAX_BYTES_PER_USER = 64 * 1024 * 1024
"""Room for two requests of the largest size, or for sixteen of four megabytes."""


class RequestSlot:
    """One request's share of its user's limits."""

    def __init__(self, requests: Counter[str], bytes_held: Counter[str], user_id: str) -> None:
        self._requests = requests
        self._bytes_held = bytes_held
        self._user_id = user_id
        self._bytes = 0
        self.released_by_response = False
        requests[user_id] += 1

    def add_bytes(self, count: int) -> None:
        """Count bytes of the request's body until the slot is released. Raises a 429 `LlmError`."""
        if self._bytes_held[self._user_id] + count > MAX_BYTES_PER_USER:
            raise errors.too_many_bytes(MAX_BYTES_PER_USER)
        self._bytes += count
        self._bytes_held[self._user_id] += count

    def release(self) -> None:
        for counter, own in ((self._requests, 1), (self._bytes_held, self._bytes)):
            counter[self._user_id] -= own
            if not counter[self._user_id]:
                del counter[self._user_id]

    def release_after(self, response: Response) -> Response:
        """Wrap the response, to release the slot once it is sent or the client disconnects."""
        self.released_by_response = True
        return _ReleasingResponse(response, self)


class _ReleasingResponse(Response):
    def __init__(self, response: Response, slot: RequestSlot) -> None:
        super().__init__()
        self._response = response
        self._slot = slot

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._response(scope, receive, send)
        finally:
            self._slot.release()


class RequestLimits:
    def __init__(self) -> None:
        self._requests: Counter[str] = Counter()
        self._bytes_held: Counter[str] = Counter()

    @contextmanager
    def slot(self, user_id: str) -> Iterator[RequestSlot]:
        """Hold a slot during the block, or until `release_after`'s response is sent.

        Raises a 429 `LlmError` if the user has too many concurrent requests.
        """
        if self._requests[user_id] >= MAX_PER_USER:
            raise errors.too_many_requests(MAX_PER_USER)
        slot = RequestSlot(self._requests, self._bytes_held, user_id)
        try:
            yield slot
        finally:
            if not slot.released_by_response:
                slot.release()
