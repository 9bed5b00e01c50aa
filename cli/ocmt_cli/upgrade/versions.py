"""Selects OpenClaw's versions, and their sections of a changelog."""

import re
from collections.abc import Iterable

from ocmt_common.openclaw.versions import parse_version


def between(versions: Iterable[str], after: str, upto: str) -> list[str]:
    """The stable versions after `after`, up to and including `upto`, oldest first.

    Empty if one of both is not a version.
    """
    low, high = parse_version(after), parse_version(upto)
    if low is None or high is None:
        return []
    known = [(parsed, text) for text in versions if (parsed := parse_version(text))]
    return [text for parsed, text in sorted(known) if parsed.is_stable and low < parsed <= high]


def changelog_sections(changelog: str, versions: Iterable[str]) -> dict[str, str]:
    """Version → the changelog's text under `## VERSION`."""
    wanted = set(versions)
    out: dict[str, str] = {}
    parts = re.split(r"^## +", changelog, flags=re.MULTILINE)
    for part in parts[1:]:
        title, _, body = part.partition("\n")
        name = title.split()[0].strip("[]") if title.split() else ""
        if name in wanted:
            out[name] = body.strip()
    return out
