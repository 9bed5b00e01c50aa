"""OpenClaw's versions: dates such as 2026.9.6, with `-beta.N` before a release and a bare `-N`
after it (a patch of that day's release)."""

import re
from dataclasses import dataclass

_SHAPE = re.compile(r"(\d{4})\.(\d+)\.(\d+)(?:-([0-9A-Za-z.-]+))?")
_MOST_CHARACTERS = 64


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """A version, ordered by release."""

    numbers: tuple[int, int, int]
    rank: int
    """-1 before the release (beta), 0 the release, 1 a patch of it."""
    step: tuple[int, ...]

    @property
    def is_stable(self) -> bool:
        return self.rank >= 0


def parse_version(text: str) -> Version | None:
    """The version, or None when `text` is not an OpenClaw version."""
    found = _SHAPE.fullmatch(text) if len(text) <= _MOST_CHARACTERS else None
    if found is None:
        return None
    year, month, day, suffix = found.groups()
    numbers = (int(year), int(month), int(day))
    if suffix is None:
        return Version(numbers, 0, ())
    step = tuple(int(n) for n in re.findall(r"\d+", suffix))
    return Version(numbers, 1 if suffix.isdigit() else -1, step)
