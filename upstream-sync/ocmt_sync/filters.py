"""Filters on upstream's commits by path, author, subject and date, for `list` and `plan`."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

import typer

from ocmt_sync.divergence import Item
from ocmt_sync.errors import Exit, SyncError

PathPrefix = Annotated[
    str | None, typer.Option("--path", help="Only commits touching this prefix.")
]
Author = Annotated[str | None, typer.Option("--author", help="Part of the author's name.")]
Words = Annotated[str | None, typer.Option("--grep", help="Part of the subject.")]
Since = Annotated[str | None, typer.Option("--since", help="Committed on or after this date.")]


@dataclass(frozen=True, slots=True)
class Filters:
    """Conditions on commits; an empty field matches all. `since` is in Unix seconds."""

    path: str = ""
    author: str = ""
    words: str = ""
    since: float = 0.0

    def fits(self, item: Item) -> bool:
        commit = item.commit
        return (
            (not self.path or any(name.startswith(self.path) for name in commit.files))
            and self.author.lower() in commit.author.lower()
            and self.words.lower() in commit.subject.lower()
            and commit.committed >= self.since
        )


def filters(path: str | None, author: str | None, words: str | None, since: str | None) -> Filters:
    """Parse the options; `since` is an ISO date in UTC. Raises `SyncError`."""
    try:
        at = datetime.fromisoformat(since).replace(tzinfo=UTC).timestamp() if since else 0.0
    except ValueError as error:
        raise SyncError(Exit.INPUT, f"{since!r} is not a date such as 2030-01-31.") from error
    return Filters(path or "", author or "", words or "", at)
