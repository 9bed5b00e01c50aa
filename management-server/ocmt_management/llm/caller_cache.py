"""Caches the user, model and key of an agent token for a few seconds.

A busy agent calls `/llm` every few seconds, and these look-ups cost more than forwarding the
request. Changes by this process evict the entry at once (`forget`); the expiry bounds how long a
change by another process goes unnoticed.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from ocmt_management.clock import Clock
from ocmt_management.llm.choice import ChosenModel
from ocmt_management.llm.provider_access import Access
from ocmt_management.tokens import token_hash

CACHED_FOR = timedelta(seconds=10)
_MAX_ENTRIES = 1000


@dataclass(frozen=True, slots=True)
class Caller:
    """The user whose agent calls, their chosen model, and the access to it."""

    user_id: str
    chosen: ChosenModel
    access: Access | None
    """How requests to the provider are authorised; `None` for the demo, or without a key."""
    time_zone: str
    limited: bool
    """Whether a budget, or the limit of a shared key, can refuse the user's requests."""


class CallerCache:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._entries: dict[bytes, tuple[Caller, datetime]] = {}
        self._changes = 0

    async def find(
        self, token: str, look_up: Callable[[], Awaitable[Caller | None]]
    ) -> Caller | None:
        """The caller with this token; `None` for an unknown token, which is not cached."""
        key = token_hash(token)
        caller, until = self._entries.get(key, (None, None))
        if caller is not None and until is not None and self._clock() < until:
            return caller
        changes = self._changes
        caller = await look_up()
        # A look-up may have read the old state if a change was made meanwhile.
        if caller is not None and changes == self._changes:
            if len(self._entries) >= _MAX_ENTRIES:
                self._entries.clear()
            self._entries[key] = (caller, self._clock() + CACHED_FOR)
        return caller

    def forget(self, user_id: str) -> None:
        """Evict this user: their status, token, model or key changed. Call after the commit."""
        self._changes += 1
        stale = [key for key, (caller, _) in self._entries.items() if caller.user_id == user_id]
        for key in stale:
            del self._entries[key]

    def forget_all(self) -> None:
        """Evict all users: the total budget or a shared key changed. Call after the commit."""
        self._changes += 1
        self._entries.clear()
