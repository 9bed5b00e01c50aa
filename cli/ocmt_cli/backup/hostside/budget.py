"""Limits on the data stored of one agent, and the list of what was left out."""

from dataclasses import dataclass, field

from ocmt_cli.backup.hostside.no_follow import Refused, shown

MAX_ENTRIES = 1_000_000
"""Limit on an agent's files, folders, links and holes: each takes memory, most an inode."""
MAX_DEPTH = 256
"""Limit on nested folders: each level keeps a descriptor open, and a process has 1,024."""
MAX_FILE_BYTES = 16 * 1000**4
"""Limit on the apparent size of a sparse file; ext4's own is a little higher."""
SETTLE_S = 30.0
"""Total seconds to wait for an agent's changing databases."""
_REPORTED = 20


class OverBudget(Refused):
    """The agent exceeds a limit, so none of its files are stored."""


@dataclass(slots=True)
class Budget:
    """What is left of one agent's limits, apart from `depth`, which stays."""

    data_bytes: int
    entries: int = MAX_ENTRIES
    depth: int = MAX_DEPTH

    def take_entry(self) -> None:
        self.entries -= 1
        if self.entries < 0:
            raise OverBudget(
                f"it has more than {MAX_ENTRIES:,} files, folders, links and holes in sparse "
                "files. Remove some of them, then back up again"
            )

    def take_bytes(self, count: int) -> None:
        self.data_bytes -= count
        if self.data_bytes < 0:
            raise OverBudget(
                "its files exceed --max-agent-gb. Raise that limit, or remove some files"
            )


@dataclass(slots=True)
class LeftOut:
    """Paths of one agent that were not stored, and why. The first 20 are listed, others counted."""

    paths: list[tuple[str, str]] = field(default_factory=list)
    more: int = 0

    def add(self, path: str, why: str) -> None:
        if len(self.paths) < _REPORTED:
            self.paths.append((shown(path), why))
        else:
            self.more += 1
