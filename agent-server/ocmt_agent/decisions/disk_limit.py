"""What follows from an agent's use of the disk: a function of figures.

An agent over its limit keeps working, because only it can delete its files; its user is warned.
Stopping it is the last resort: at twice its limit, or when the host itself runs out of room.
"""

from dataclasses import dataclass
from enum import IntEnum

_FILES_PER_MB = 64
"""As many inodes as ext4 makes: files without content can use up a disk as well."""
_NEARLY = 0.9
_JUST_OVER = 1.01
_FAR_OVER = 2.0
_RESERVE_SHARE = 0.05
_RESERVE_MOST_BYTES = 5 * 1000**3


@dataclass(frozen=True, slots=True)
class Usage:
    bytes: int
    """What is allocated: a sparse file counts as what it holds, a hard link once."""
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
    """A file system: what is free of it for anybody."""

    total_bytes: int
    free_bytes: int
    total_files: int
    """0 where files are not counted (btrfs)."""
    free_files: int

    @property
    def is_short(self) -> bool:
        """Whether it is about to be full, which would hurt every agent and the servers."""
        reserve = min(self.total_bytes * _RESERVE_SHARE, _RESERVE_MOST_BYTES)
        return self.free_bytes < reserve or self.free_files < self.total_files * _RESERVE_SHARE


class Fullness(IntEnum):
    FINE = 0
    NEARLY = 1
    OVER = 2
    STOPPED = 3
    """Over by so much, or at such a time, that the agent has to stay stopped."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What one agent takes, beside what it may."""

    usage: Usage | None
    """`None`: more files than could be counted in time."""
    limit: DiskLimit
    fullness: Fullness

    @property
    def warning(self) -> str | None:
        """A sentence for the agent's user; the same as long as the fullness is."""
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
                    f"Your agent is stopped because it uses far more than the {most} that it may "
                    "have on disk. Ask the operator to delete files in its state folder or to "
                    "raise AGENT_DISK_MB; within a minute it can then be started again."
                )

    def _most(self) -> str:
        usage, limit = self.usage, self.limit
        if usage is None or usage.files / limit.files > usage.bytes / limit.bytes:
            return f"{limit.files:,} files"
        return f"{limit.bytes / 1024**3:.3g} GB"


def standing(usage: Usage | None, limit: DiskLimit, *, host_is_short: bool) -> Standing:
    """Where an agent stands. One whose files cannot be counted in time has too many."""
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
