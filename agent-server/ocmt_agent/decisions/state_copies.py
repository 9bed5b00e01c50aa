"""What has to happen before an agent is started on the host's OpenClaw: a function of versions."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum, auto
from pathlib import Path

from ocmt_common.openclaw.versions import Version, parse_version

from ocmt_agent.decisions.disk_limit import DiskLimit, Fullness, Room, Usage, standing

UNRECORDED = "2026.9.6"
"""The OpenClaw of every release that did not record which one used an agent's state."""
KEPT_FOR = timedelta(days=14)
_GB = 1000**3


class Step(Enum):
    START = auto()
    RECORD = auto()
    """Record the version, then start: there is no state yet, or none that a newer one used."""
    COPY = auto()
    """Copy the state, record the version, then start."""
    REFUSE = auto()


@dataclass(frozen=True, slots=True)
class StateCopy:
    """An agent's state as an OpenClaw left it."""

    version: str
    taken_at: datetime
    folder: Path


def before_start(last: str | None, now: str, *, has_state: bool) -> Step:
    """`last`: the OpenClaw that last used the state, as recorded; `now`: the host's."""
    if not has_state:
        return Step.START if last == now else Step.RECORD
    if last is None:
        newer = _version(now) > _version(UNRECORDED)
        return Step.COPY if newer else Step.RECORD
    if last == now:
        return Step.START
    return Step.COPY if _version(now) > _version(last) else Step.REFUSE


def to_go_back_to(copies: Iterable[StateCopy], *, last: str | None, now: str) -> StateCopy | None:
    """The copy to exchange the state for, if that is of use: the newest that the host can read.

    It is where an older OpenClaw than the state's is back, and where the newer one is back that
    the copy is of.
    """
    used, host = _version(last or UNRECORDED), _version(now)
    for copy in sorted(copies, key=lambda one: one.taken_at, reverse=True):
        version = _version(copy.version)
        if version <= host and (used > host or version > used):
            return copy
    return None


def no_longer_needed(copies: Iterable[StateCopy], now: datetime) -> list[StateCopy]:
    """All but the newest, and that too when it is old."""
    newest_first = sorted(copies, key=lambda one: one.taken_at, reverse=True)
    return [
        copy
        for place, copy in enumerate(newest_first)
        if place > 0 or now - copy.taken_at > KEPT_FOR
    ]


def why_no_copy(usage: Usage | None, limit: DiskLimit, room: Room) -> str | None:
    """Why a state of that size is not copied and what to do, or `None`.

    An agent that takes more than it may run with is not copied either.
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
            f"has {_gb(room.free_bytes)} free and keeps some for all. Operator: make room there"
        )
    return None


def _gb(count: int) -> str:
    return f"{count / _GB:.3g} GB"


def _version(text: str) -> Version:
    parsed = parse_version(text)
    if parsed is None:
        raise ValueError(f"{text!r} is not a version of OpenClaw")
    return parsed
