"""A `Clock` that only a test advances."""

from datetime import UTC, datetime, timedelta


class FakeClock:
    def __init__(self) -> None:
        self._now = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
        self._monotonic = 1000.0

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, **units: float) -> None:
        step = timedelta(**units)
        self._now += step
        self._monotonic += step.total_seconds()

    def jump(self, by: timedelta) -> None:
        """Set the wall clock without advancing the monotonic one."""
        self._now += by
