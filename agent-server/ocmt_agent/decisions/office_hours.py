"""Office hours: whether they are going on, since when, and when they begin next."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo


@dataclass(frozen=True, slots=True)
class Hours:
    """`start` and `end` are wall times in `zone`; an `end` before `start` is on the day after."""

    zone: ZoneInfo
    days: frozenset[int]
    """Monday is 0; the day on which they begin."""
    start: time
    end: time

    def since(self, now: datetime) -> datetime | None:
        """When the hours that are going on at `now` began (UTC); `None` outside of them."""
        today = now.astimezone(self.zone).date()
        for day in (today, today - timedelta(days=1)):
            began, ends = self._on(day)
            if day.weekday() in self.days and began <= now < ends:
                return began
        return None

    def next_start(self, now: datetime) -> datetime:
        """When they begin next, after `now` (UTC)."""
        today = now.astimezone(self.zone).date()
        later = (today + timedelta(days=ahead) for ahead in range(9))
        return min(
            began
            for day in later
            if day.weekday() in self.days and (began := self._on(day)[0]) > now
        )

    def _on(self, day: date) -> tuple[datetime, datetime]:
        last = day if self.start < self.end else day + timedelta(days=1)
        # Through UTC, where a span over a change of the clocks is as long as it really is.
        began, ends = (
            datetime.combine(on, at, self.zone).astimezone(UTC)
            for on, at in ((day, self.start), (last, self.end))
        )
        return began, ends
