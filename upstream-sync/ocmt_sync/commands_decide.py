"""`ocmt sync skip`, `defer` and `reopen`: decisions without a plan."""

from collections.abc import Sequence
from datetime import date
from typing import Annotated

import typer

from ocmt_sync.console import Json, Session, emit, say, session, speaking
from ocmt_sync.decide import operator, record
from ocmt_sync.divergence import now_iso, read_divergence
from ocmt_sync.errors import Exit, SyncError
from ocmt_sync.ledger import Act
from ocmt_sync.locks import exclusive


def _decide(
    here: Session, commits: Sequence[str], act: Act, *, reason: str, until: str, as_json: bool
) -> None:
    with speaking(as_json) as progress:
        if not reason.strip():
            raise SyncError(Exit.INPUT, "Give a --reason: the ledger records it.")
        if act == "deferred":
            try:
                date.fromisoformat(until)
            except ValueError as error:
                raise SyncError(
                    Exit.INPUT, f"{until!r} is not a date such as 2030-01-31."
                ) from error
        repository, policy = here.open()
        with exclusive(repository.state):
            now = here.clock()
            divergence = read_divergence(repository, policy, today=now.date(), progress=progress)
            items = [divergence.find(name) for name in commits]
            tip = record(
                divergence, items, act, reason=reason, until=until, at=now_iso(now),
                by=operator(repository.git),
            )  # fmt: skip
        progress.end()
        if as_json:
            emit({"act": act, "commits": [i.commit.sha for i in items], "tip": tip})
        else:
            say(f"{len(items)} recorded as {act} on {policy.sync_branch}.")


Commits = Annotated[list[str], typer.Argument(help="Upstream commits.")]
Reason = Annotated[str, typer.Option("--reason", help="The reason, recorded in the ledger.")]


def skip_(context: typer.Context, commits: Commits, reason: Reason, as_json: Json = False) -> None:
    """Never offer these commits again."""
    _decide(session(context), commits, "skipped", reason=reason, until="", as_json=as_json)


def defer_(
    context: typer.Context,
    commits: Commits,
    reason: Reason,
    until: Annotated[str, typer.Option(help="Offer them again on this date.")],
    as_json: Json = False,
) -> None:
    """Offer these commits again later."""
    _decide(session(context), commits, "deferred", reason=reason, until=until, as_json=as_json)


def reopen_(
    context: typer.Context, commits: Commits, reason: Reason, as_json: Json = False
) -> None:
    """Withdraw a decision."""
    _decide(session(context), commits, "reopened", reason=reason, until="", as_json=as_json)
