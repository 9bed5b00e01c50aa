"""Who asks `/llm`, and with which model and key, remembered for a few seconds.

An agent at work asks every few seconds, and looking all this up costs more than passing the whole
request on. Whatever changes it here is known at once (`forget`); the few seconds are only for what
changes the database behind our back.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from ocmt_management.clock import Clock
from ocmt_management.llm.choice import Chosen
from ocmt_management.tokens import session_hash
from ocmt_management.vault.secret_value import SecretValue

REMEMBERED_FOR = timedelta(seconds=10)
_MOST = 1000


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose agent asks, and the model that answers it, with the user's key for it."""

    user_id: str
    chosen: Chosen
    key: SecretValue | None


class Callers:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[bytes, tuple[Caller, datetime]] = {}
        self._changes = 0

    async def find(
        self, token: str, look_up: Callable[[], Awaitable[Caller | None]]
    ) -> Caller | None:
        """The caller of this token; nobody is remembered of a token that is nobody's."""
        token_hash = session_hash(token)
        caller, until = self._known.get(token_hash, (None, None))
        if caller is not None and until is not None and self._clock() < until:
            return caller
        changes = self._changes
        caller = await look_up()
        # What was read while something changed may be how it was before.
        if caller is not None and changes == self._changes:
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known[token_hash] = (caller, self._clock() + REMEMBERED_FOR)
        return caller

    def forget(self, user_id: str) -> None:
        """Something about this user, their token, model or key changed. Call after the commit."""
        self._changes += 1
        gone = [key for key, (caller, _) in self._known.items() if caller.user_id == user_id]
        for key in gone:
            del self._known[key]
