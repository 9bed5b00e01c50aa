"""Which refusals of strangers are worth a row: anybody can cause as many as they like."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from ocmt_management.clock import Clock

_ONCE_IN = timedelta(minutes=1)
_MOST_AN_HOUR = 300
_MOST_KEPT = 10_000


@dataclass(slots=True)
class _Noted:
    at: datetime
    left_out: int = 0


class Throttle:
    """Lets each asker's refusal of a kind through once a minute, and 300 an hour of all."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._noted: dict[tuple[str, str], _Noted] = {}
        self._hour = clock()
        self._this_hour = 0

    def take(self, action: str, who: str) -> int | None:
        """How many like it were left out since the last row; `None` when this one is, too."""
        now = self._clock()
        if now - self._hour >= timedelta(hours=1):
            self._hour, self._this_hour = now, 0
        noted = self._noted.get((action, who))
        recent = noted is not None and now - noted.at < _ONCE_IN
        if noted is not None and (recent or self._this_hour >= _MOST_AN_HOUR):
            noted.left_out += 1
            return None
        if self._this_hour >= _MOST_AN_HOUR:
            return None
        if len(self._noted) >= _MOST_KEPT:
            self._noted.clear()
        self._this_hour += 1
        self._noted[action, who] = _Noted(now)
        return 0 if noted is None else noted.left_out
