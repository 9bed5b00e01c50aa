"""Bounds the audit events that unauthenticated clients can cause."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from ocmt_management.clock import Clock

_INTERVAL = timedelta(minutes=1)
_MAX_PER_HOUR = 300
_MAX_CLIENTS = 10_000


@dataclass(slots=True)
class _Recorded:
    at: datetime
    skipped: int = 0


class AuditThrottle:
    """Allows one event a minute per action and client, and 300 an hour in total."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._recorded: dict[tuple[str, str], _Recorded] = {}
        self._hour = clock()
        self._this_hour = 0

    def take(self, action: str, client: str) -> int | None:
        """Return how many such events were skipped since the last recorded one.

        Returns `None` if this event must be skipped, too.
        """
        now = self._clock()
        if now - self._hour >= timedelta(hours=1):
            self._hour, self._this_hour = now, 0
        recorded = self._recorded.get((action, client))
        recent = recorded is not None and now - recorded.at < _INTERVAL
        if recorded is not None and (recent or self._this_hour >= _MAX_PER_HOUR):
            recorded.skipped += 1
            return None
        if self._this_hour >= _MAX_PER_HOUR:
            return None
        if len(self._recorded) >= _MAX_CLIENTS:
            self._recorded.clear()
        self._this_hour += 1
        self._recorded[action, client] = _Recorded(now)
        return 0 if recorded is None else recorded.skipped
