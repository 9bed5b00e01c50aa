"""Decides whether to copy an agent's state before another OpenClaw version uses it. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum, auto
from pathlib import Path

from ocmt_common.openclaw.versions import Version, parse_version

from ocmt_agent.decisions.disk_limit import DiskLimit, Fullness, Room, Usage, standing

UNRECORDED = "2026.9.6"
"""The OpenClaw version of all releases that did not record the version of an agent's state."""
KEPT_FOR = timedelta(days=14)
_GB = 1000**3


class Step(Enum):
    START = auto()
    RECORD = auto()
    """Record the version, then start: there is no state, or it needs no copy."""
    COPY = auto()
    """Copy the state, record the version, then start."""
    REFUSE = auto()


@dataclass(frozen=True, slots=True)
class StateCopy:
    """A copy of an agent's state, which OpenClaw `version` used last."""

    version: str
    taken_at: datetime
    folder: Path


def before_start(last: str | None, now: str, *, has_state: bool) -> Step:
    """The step before OpenClaw `now` starts on a state that OpenClaw `last` used, by the record."""
    if not has_state:
        return Step.START if last == now else Step.RECORD
    if last is None:
        newer = _version(now) > _version(UNRECORDED)
        return Step.COPY if newer else Step.RECORD
    if last == now:
        return Step.START
    return Step.COPY if _version(now) > _version(last) else Step.REFUSE


def to_go_back_to(copies: Iterable[StateCopy], *, last: str | None, now: str) -> StateCopy | None:
    """The newest copy that the host's OpenClaw `now` can read; `None` if reverting is of no use.

    Reverting is useful if the host's version is older than the one that last used the state, or if
    the copy is newer than that version.
    """
    used, host = _version(last or UNRECORDED), _version(now)
    for copy in sorted(copies, key=lambda one: one.taken_at, reverse=True):
        version = _version(copy.version)
        if version <= host and (used > host or version > used):
            return copy
    return None


def no_longer_needed(copies: Iterable[StateCopy], now: datetime) -> list[StateCopy]:
    """All copies except the newest, and also the newest if it is older than `KEPT_FOR`."""
    newest_first = sorted(copies, key=lambda one: one.taken_at, reverse=True)
    return [
        copy
        for place, copy in enumerate(newest_first)
        if place > 0 or now - copy.taken_at > KEPT_FOR
    ]


def why_no_copy(usage: Usage | None, limit: DiskLimit, room: Room) -> str | None:
    """Why a state of this size cannot be copied, and what to do; `None` if it can.

    A state is not copied either if its agent must stay stopped for its disk usage.
    """
    if usage is None:
        return "it has more files than can be counted in a minute. Operator: remove some of them"
    if standing(usage, limit, host_is_short=False).fullness is Fullness.STOPPED:
        return (
            f"its {_gb(usage.bytes)} in {usage.files:,} files are more than twice what an agent "
            "may have. Operator: remove some of them, or raise AGENT_DISK_MB"
        )
    left = replace(
        room,
        free_bytes=room.free_bytes - usage.bytes,
        free_files=room.free_files - (usage.files if room.total_files else 0),
    )
    if left.is_short:
        return (
            f"its {_gb(usage.bytes)} in {usage.files:,} files do not fit on the host's disk, which "
            f"has {_gb(room.free_bytes)} free, some of it reserved. Operator: free space on it"
        )
    return None


def _gb(count: int) -> str:
    return f"{count / _GB:.3g} GB"


def _version(text: str) -> Version:
    parsed = parse_version(text)
    if parsed is None:
        raise ValueError(f"{text!r} is not a version of OpenClaw")
    return parsed
