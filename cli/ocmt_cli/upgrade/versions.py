"""OpenClaw's versions: dates such as 2026.9.6, with `-beta.N` before a release and a bare `-N`
after it (a patch of that day's release)."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

_SHAPE = re.compile(r"(\d+)\.(\d+)\.(\d+)(?:-(.+))?")


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """Ordered as they were released."""

    numbers: tuple[int, int, int]
    rank: int
    """-1 before the release (beta), 0 the release, 1 a patch of it."""
    step: tuple[int, ...]

    @property
    def is_stable(self) -> bool:
        return self.rank >= 0


def parse_version(text: str) -> Version | None:
    """None for what is no version of OpenClaw."""
    found = _SHAPE.fullmatch(text)
    if found is None:
        return None
    year, month, day, suffix = found.groups()
    numbers = (int(year), int(month), int(day))
    if suffix is None:
        return Version(numbers, 0, ())
    step = tuple(int(n) for n in re.findall(r"\d+", suffix))
    return Version(numbers, 1 if suffix.isdigit() else -1, step)


def between(versions: Iterable[str], after: str, upto: str) -> list[str]:
    """The stable versions after one, up to and with another, oldest first."""
    low, high = parse_version(after), parse_version(upto)
    if low is None or high is None:
        return []
    known = [(parsed, text) for text in versions if (parsed := parse_version(text))]
    return [text for parsed, text in sorted(known) if parsed.is_stable and low < parsed <= high]


def changelog_sections(changelog: str, versions: Iterable[str]) -> dict[str, str]:
    """What a changelog says under `## VERSION` for each of these versions."""
    wanted = set(versions)
    out: dict[str, str] = {}
    parts = re.split(r"^## +", changelog, flags=re.MULTILINE)
    for part in parts[1:]:
        title, _, body = part.partition("\n")
        name = title.split()[0].strip("[]") if title.split() else ""
        if name in wanted:
            out[name] = body.strip()
    return out
