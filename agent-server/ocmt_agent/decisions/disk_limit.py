"""Compares an agent's disk usage with its limit, and decides what to do. Pure.

An agent over its limit keeps running, because only it can delete its files; its user is warned.
It is stopped at twice its limit, or as soon as the host's disk is nearly full.
"""

from dataclasses import dataclass
from enum import IntEnum

_FILES_PER_MB = 64
"""As many inodes as ext4 makes per MB: empty files can fill a disk too."""
_NEARLY = 0.9
_JUST_OVER = 1.01
_FAR_OVER = 2.0
_RESERVE_SHARE = 0.05
_RESERVE_MOST_BYTES = 5 * 1000**3


@dataclass(frozen=True, slots=True)
class Usage:
    bytes: int
    """Allocated bytes, without holes in sparse files. A hard-linked file counts once."""
    files: int
    """Files, folders and links."""


@dataclass(frozen=True, slots=True)
class DiskLimit:
    bytes: int
    files: int

    @classmethod
    def of_mb(cls, mb: int) -> "DiskLimit":
        return cls(mb * 1024 * 1024, mb * _FILES_PER_MB)


@dataclass(frozen=True, slots=True)
class Room:
    """The free space of a file system, for processes without privileges."""

    total_bytes: int
    free_bytes: int
    total_files: int
    """0 on a file system without inode limits (btrfs)."""
    free_files: int

    @property
    def is_short(self) -> bool:
        """Whether the file system is nearly full, which affects every agent and the servers."""
        reserve = min(self.total_bytes * _RESERVE_SHARE, _RESERVE_MOST_BYTES)
        return self.free_bytes < reserve or self.free_files < self.total_files * _RESERVE_SHARE


class Fullness(IntEnum):
    FINE = 0
    NEARLY = 1
    OVER = 2
    STOPPED = 3
    """At least twice the limit, or over it on a nearly full disk: the agent must stay stopped."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One agent's usage compared with its limit."""

    usage: Usage | None
    """`None` if there were too many files to count in time."""
    limit: DiskLimit
    fullness: Fullness

    @property
    def warning(self) -> str | None:
        """A sentence for the agent's user; `None` if there is nothing to warn about."""
        most = self._most()
        match self.fullness:
            case Fullness.FINE:
                return None
            case Fullness.NEARLY:
                return (
                    f"Your agent uses more than 90 % of the {most} that it may have on disk. Ask "
                    "it to delete what it no longer needs."
                )
            case Fullness.OVER:
                return (
                    f"Your agent uses more than the {most} that it may have on disk. Ask it to "
                    "delete what it no longer needs; at twice as much it is stopped."
                )
            case Fullness.STOPPED:
                return (
                    f"Your agent is stopped because it uses more than the {most} that it may have "
                    "on disk. Ask the operator to delete files in its state folder or to raise "
                    "AGENT_DISK_MB; about a minute later it can be started again."
                )

    def _most(self) -> str:
        usage, limit = self.usage, self.limit
        if usage is None or usage.files / limit.files > usage.bytes / limit.bytes:
            return f"{limit.files:,} files"
        return f"{limit.bytes / 1024**3:.3g} GB"


def standing(usage: Usage | None, limit: DiskLimit, *, host_is_short: bool) -> Standing:
    """Compare usage with the limit. An agent whose files could not be counted is over the limit."""
    share = _JUST_OVER
    if usage is not None:
        share = max(usage.bytes / limit.bytes, usage.files / limit.files)
    if share >= _FAR_OVER or (share > 1 and host_is_short):
        fullness = Fullness.STOPPED
    elif share > 1:
        fullness = Fullness.OVER
    else:
        fullness = Fullness.NEARLY if share >= _NEARLY else Fullness.FINE
    return Standing(usage, limit, fullness)
