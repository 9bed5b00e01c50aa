"""The state of an unfinished `apply`, replaced atomically.

It does not list the commits already picked: those are read from the sync branch, so that the two
cannot disagree.
"""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ocmt_sync.errors import Exit, SyncError


@dataclass(slots=True)
class Journal:
    """`before` is the sync branch's head before the apply ("" if there was none), `made_worktree`
    whether this apply made the work tree, `conflict` the commit whose conflict is unresolved."""

    plan: str
    base: str
    before: str
    worktree: str
    made_worktree: bool
    at: str
    by: str
    conflict: str = ""
    emptied: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)


def journal_path(state: Path) -> Path:
    return state / "apply.json"


def read_journal(state: Path) -> Journal | None:
    path = journal_path(state)
    try:
        return Journal(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise SyncError(
            Exit.INPUT, f"The journal {path} is damaged ({error}); remove it to start over."
        ) from error


def write_journal(state: Path, journal: Journal) -> None:
    write_whole(journal_path(state), json.dumps(asdict(journal)))


def remove_journal(state: Path) -> None:
    journal_path(state).unlink(missing_ok=True)


def write_whole(path: Path, content: str) -> None:
    """Replace a file so that a reader, or a crash, sees the old or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("w", encoding="utf-8") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    partial.replace(path)
