"""A circuit breaker: after repeated trouble, calls to a server fail at once instead of slowly.

Each connection has its own state: one user's bad credential or address does not affect others.
"""

from collections.abc import Callable
from dataclasses import dataclass

from ocmt_management.tools import trouble
from ocmt_management.tools.trouble import COUNTED, Kind, Trouble

FAILURES = 3
PAUSE_S = 30.0
_MAX_ENTRIES = 10_000


@dataclass(slots=True)
class _State:
    failures: int
    until_s: float
    last: str


class Breaker:
    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._states: dict[object, _State] = {}

    def check(self, key: object, name: str) -> None:
        """Raise `Trouble` while the server is paused. After the pause, one call may try again."""
        state = self._states.get(key)
        if state is None or state.failures < FAILURES:
            return
        left = state.until_s - self._now_s()
        if left > 0:
            raise trouble.paused(name, left, state.last)
        state.until_s = self._now_s() + PAUSE_S

    def failed(self, key: object, problem: Trouble) -> None:
        if problem.kind not in COUNTED:
            return
        if len(self._states) >= _MAX_ENTRIES:
            self._states.clear()
        state = self._states.setdefault(key, _State(0, 0.0, ""))
        # Retrying a rejected credential cannot succeed and may lock the account.
        state.failures = FAILURES if problem.kind is Kind.REFUSED else state.failures + 1
        state.until_s = self._now_s() + PAUSE_S
        state.last = problem.text

    def served(self, key: object) -> None:
        self._states.pop(key, None)

    def open_count(self) -> int:
        return sum(state.failures >= FAILURES for state in self._states.values())
