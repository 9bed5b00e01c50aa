"""OpenClaw's versions: dates such as `2026.9.6`, followed by `-beta.N` for a beta or by `-N` for a
patch of that release."""

import re
from dataclasses import dataclass

_SHAPE = re.compile(r"(\d{4})\.(\d+)\.(\d+)(?:-([0-9A-Za-z.-]+))?")
_MOST_CHARACTERS = 64


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """A version, ordered by release; within a release, by `rank` and then `step`."""

    numbers: tuple[int, int, int]
    rank: int
    """-1 for a beta or any other suffix, 0 for the release, 1 for a patch of it."""
    step: tuple[int, ...]

    @property
    def is_stable(self) -> bool:
        return self.rank >= 0


def parse_version(text: str) -> Version | None:
    """Parse `YEAR.MONTH.DAY`, with or without a suffix; `None` for any other text."""
    found = _SHAPE.fullmatch(text) if len(text) <= _MOST_CHARACTERS else None
    if found is None:
        return None
    year, month, day, suffix = found.groups()
    numbers = (int(year), int(month), int(day))
    if suffix is None:
        return Version(numbers, 0, ())
    step = tuple(int(n) for n in re.findall(r"\d+", suffix))
    return Version(numbers, 1 if suffix.isdigit() else -1, step)
