"""The clock, injected so that tests need not wait."""

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    def now(self) -> datetime:
        """The current time in UTC: for what is stored or shown."""
        ...

    def monotonic(self) -> float:
        """Seconds since an arbitrary moment, which a change of the wall clock does not affect."""
        ...


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()
