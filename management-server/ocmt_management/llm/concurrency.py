"""How many requests of one user's agent are under way at once, and of how many bytes.

Enough for an agent at work; not enough to take the server's memory (a request may have many
megabytes) and its connections to providers from everybody else's.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ocmt_management.llm import errors as refusals

MOST_PER_USER = 16
MOST_BYTES_PER_USER = 64 * 1024 * 1024
"""Two of the largest requests, or sixteen of four megabytes."""


class Place:
    """One request's place among its user's."""

    def __init__(self, under_way: Counter[str], bytes_held: Counter[str], user_id: str) -> None:
        self._under_way = under_way
        self._bytes_held = bytes_held
        self._user_id = user_id
        self._bytes = 0
        self.kept = False
        """Whether an answer frees it, and not the block that took it."""
        under_way[user_id] += 1

    def hold(self, more_bytes: int) -> None:
        """Count bytes of the request's body until the place is free. Raises a 429 `Refusal`."""
        if self._bytes_held[self._user_id] + more_bytes > MOST_BYTES_PER_USER:
            raise refusals.too_much_at_once(MOST_BYTES_PER_USER)
        self._bytes += more_bytes
        self._bytes_held[self._user_id] += more_bytes

    def free(self) -> None:
        for counts, its_own in ((self._under_way, 1), (self._bytes_held, self._bytes)):
            counts[self._user_id] -= its_own
            if not counts[self._user_id]:
                del counts[self._user_id]

    def until_answered(self, response: Response) -> Response:
        """The same answer, which frees the place when its last byte left or its caller did."""
        self.kept = True
        return _Freeing(response, self)


class _Freeing(Response):
    def __init__(self, response: Response, place: Place) -> None:
        super().__init__()
        self._response = response
        self._place = place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._response(scope, receive, send)
        finally:
            self._place.free()


class AtOnce:
    def __init__(self) -> None:
        self._under_way: Counter[str] = Counter()
        self._bytes_held: Counter[str] = Counter()

    @contextmanager
    def another(self, user_id: str) -> Iterator[Place]:
        """Take a place while the block runs, or until the answer. Raises a 429 `Refusal`."""
        if self._under_way[user_id] >= MOST_PER_USER:
            raise refusals.too_many_at_once(MOST_PER_USER)
        place = Place(self._under_way, self._bytes_held, user_id)
        try:
            yield place
        finally:
            if not place.kept:
                place.free()
