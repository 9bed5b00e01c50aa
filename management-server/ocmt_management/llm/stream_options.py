"""Remembers which servers reject `stream_options`, the request for a stream's usage.

Otherwise every streamed request to such a server would be sent twice.
"""

from datetime import datetime, timedelta

from ocmt_management.clock import Clock

_REMEMBERED = timedelta(hours=1)
_MAX_ENTRIES = 1000


class StreamOptions:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._refused: dict[tuple[str, str], datetime] = {}

    def refused(self, url: str, model: str) -> None:
        if len(self._refused) >= _MAX_ENTRIES:
            self._refused.clear()
        self._refused[url, model] = self._clock() + _REMEMBERED

    def accepted(self, url: str, model: str) -> bool:
        """Whether a request may have `stream_options`: not within an hour of a rejection."""
        until = self._refused.get((url, model))
        return until is None or self._clock() >= until
