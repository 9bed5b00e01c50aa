"""How much of one agent is stored, and what of it is not."""

from dataclasses import dataclass, field

from ocmt_cli.backup.hostside.no_follow import Refused, shown

MAX_ENTRIES = 1_000_000
"""Files, folders and links of one agent, and gaps in its files. Each costs memory and an inode."""
MAX_DEPTH = 256
"""Folders in each other. Each level is an open descriptor, of which a process has 1,024."""
MAX_FILE_BYTES = 16 * 1000**4
"""Apparent size of a file with gaps; the largest that ext4 takes back is a little more."""
SETTLE_S = 30.0
"""How long an agent's changing databases are waited for, in sum."""
_REPORTED = 20


class OverBudget(Refused):
    """Nothing of this agent is stored."""


@dataclass(slots=True)
class Budget:
    """What is left for one agent."""

    data_bytes: int
    entries: int = MAX_ENTRIES
    depth: int = MAX_DEPTH

    def take_entry(self) -> None:
        self.entries -= 1
        if self.entries < 0:
            raise OverBudget(
                f"it has more than {MAX_ENTRIES:,} files, folders and gaps in files. Remove some "
                "of them, then back up again"
            )

    def take_bytes(self, count: int) -> None:
        self.data_bytes -= count
        if self.data_bytes < 0:
            raise OverBudget(
                "its files hold more than an agent's may. Raise --max-agent-gb, or remove some"
            )


@dataclass(slots=True)
class LeftOut:
    """Paths of one agent that are not stored, and why. The first few are named, all are counted."""

    paths: list[tuple[str, str]] = field(default_factory=list)
    more: int = 0

    def add(self, path: str, why: str) -> None:
        if len(self.paths) < _REPORTED:
            self.paths.append((shown(path), why))
        else:
            self.more += 1
