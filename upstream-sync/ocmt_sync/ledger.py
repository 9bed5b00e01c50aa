"""The ledger: the decisions about upstream's commits, as files in the fork.

Each command that decides adds a file, which is named by time and content and never changes, so that
two operators' branches merge without conflicts and a rebase keeps every file. Decisions refer to
upstream's commits, which a rebase of the fork does not change, and to their patch-ids, which
survive a rewrite of upstream's history. The newest decision about a commit applies.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Literal, get_args

from ocmt_sync.errors import Exit, SyncError
from ocmt_sync.git import Git, raw, text

Act = Literal["applied", "skipped", "deferred", "empty", "reopened"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One decision. `at` is ISO 8601 UTC, `until` an ISO date for deferred commits."""

    commit: str
    act: Act
    reason: str
    until: str
    subject: str
    patch_id: str
    at: str
    by: str

    def is_open(self, today: date) -> bool:
        """Whether the commit must be decided on again."""
        return self.act == "reopened" or (
            self.act == "deferred" and date.fromisoformat(self.until) <= today
        )


class Ledger:
    """All decisions. The newest about a commit applies."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        unique = set(entries)
        self.entries = sorted(unique, key=lambda e: (e.at, e.act, e.by, e.commit, e.reason))
        self.by_commit = {entry.commit: entry for entry in self.entries}
        self.by_patch_id = {e.patch_id: e for e in self.entries if e.patch_id}
        self.subjects = {e.subject for e in self.entries}

    def last_at(self) -> str | None:
        """The time of the newest `applied` decision; `None` if there is none."""
        return max((e.at for e in self.entries if e.act == "applied"), default=None)


def ledger_file(entries: Sequence[Entry], at: str) -> tuple[str, bytes]:
    """The name and content of the file that records these decisions."""
    body = "".join(
        json.dumps({k: v for k, v in asdict(entry).items() if v}, sort_keys=True) + "\n"
        for entry in entries
    ).encode()
    name = f"{at.replace(':', '')}-{hashlib.sha256(body).hexdigest()[:10]}.jsonl"
    return name, body


def parse_entries(data: bytes, *, source: str) -> list[Entry]:
    """Parse a ledger file. Raises `SyncError` for a damaged line, since it may be a decision."""
    entries: list[Entry] = []
    for number, line in enumerate(data.splitlines(), 1):
        try:
            found = json.loads(line)
            entry = Entry(**{name: str(found.get(name, "")) for name in Entry.__slots__})  # type: ignore[arg-type]
            if (
                entry.act not in get_args(Act)
                or not entry.commit
                or set(found) - set(Entry.__slots__)
            ):
                raise ValueError("unknown decision")
            datetime.fromisoformat(entry.at)
            if entry.act == "deferred":
                date.fromisoformat(entry.until)
        except (ValueError, AttributeError, TypeError) as error:
            raise SyncError(
                Exit.INPUT, f"Line {number} of the ledger file {source} is damaged: {error}"
            ) from error
        entries.append(entry)
    return entries


def read_ledger(git: Git, commits: Iterable[str], folder: str) -> Ledger:
    """The decisions in any of `commits`, the heads of the fork's branches here and at origin."""
    blobs: dict[str, str] = {}
    for commit in dict.fromkeys(commits):
        for item in git.output("ls-tree", "-r", "-z", commit, "--", f"{folder}/").split(b"\0"):
            if item:
                meta, name = item.split(b"\t", 1)
                if name.endswith(b".jsonl"):
                    blobs[text(meta.split()[2])] = text(name)
    entries: list[Entry] = []
    if blobs:
        answer = git.output(
            "cat-file", "--batch", stdin=b"".join(raw(sha) + b"\n" for sha in blobs)
        )
        position = 0
        for path in blobs.values():
            end = answer.index(b"\n", position)
            size = int(answer[position:end].split()[2])
            entries += parse_entries(answer[end + 1 : end + 1 + size], source=path)
            position = end + 1 + size + 1
    return Ledger(entries)
