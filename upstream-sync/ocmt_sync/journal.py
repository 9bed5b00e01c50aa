"""The journal: the state of an unfinished `apply`, replaced atomically.

It does not list the commits already picked: these are read from the sync branch, so that journal
and branch cannot disagree.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ocmt_common.atomic_files import replace_file

from ocmt_sync.errors import Exit, SyncError


@dataclass(slots=True)
class Journal:
    """The journal of one apply.

    `before` is the sync branch's head before the apply ("" if there was none), `made_worktree`
    whether this apply created the work tree, `conflict` the commit with an unresolved conflict,
    `emptied` the commits whose picks changed nothing, and `skipped` is commit → reason.
    """

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


UNFINISHED = "An apply is unfinished. Run `ocmt sync apply --continue` or `--abort` first."


def journal_path(state: Path) -> Path:
    return state / "apply.json"


def read_journal(state: Path) -> Journal | None:
    """The journal; `None` if no apply is unfinished. Raises `SyncError` if it is damaged."""
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
    """Replace a file atomically and durably, creating its folder if necessary."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, content, mode=0o644)
