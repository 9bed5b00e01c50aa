"""Office hours: whether they are now, since when, and when they next begin. Pure."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo


@dataclass(frozen=True, slots=True)
class Hours:
    """`start` and `end` are wall times in `zone`; an `end` not after `start` is a day later."""

    zone: ZoneInfo
    days: frozenset[int]
    """The weekdays on which they begin; Monday is 0."""
    start: time
    end: time

    def since(self, now: datetime) -> datetime | None:
        """When the current office hours began (UTC); `None` outside office hours."""
        today = now.astimezone(self.zone).date()
        for day in (today, today - timedelta(days=1)):
            began, ends = self._on(day)
            if day.weekday() in self.days and began <= now < ends:
                return began
        return None

    def next_start(self, now: datetime) -> datetime:
        """When office hours next begin after `now` (UTC)."""
        today = now.astimezone(self.zone).date()
        later = (today + timedelta(days=ahead) for ahead in range(9))
        return min(
            began
            for day in later
            if day.weekday() in self.days and (began := self._on(day)[0]) > now
        )

    def _on(self, day: date) -> tuple[datetime, datetime]:
        last = day if self.start < self.end else day + timedelta(days=1)
        # In UTC, so that a span across a daylight-saving change has its true length.
        began, ends = (
            datetime.combine(on, at, self.zone).astimezone(UTC)
            for on, at in ((day, self.start), (last, self.end))
        )
        return began, ends
