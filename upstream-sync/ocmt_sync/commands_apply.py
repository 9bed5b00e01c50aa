"""`ocmt sync apply`: applies a plan, continues after a conflict, skips the commit, or aborts."""

from pathlib import Path
from typing import Annotated

import typer

from ocmt_sync.apply import carry_out, resumed_run, start_run
from ocmt_sync.console import Json, emit, say, session, speaking, styled
from ocmt_sync.decide import operator
from ocmt_sync.divergence import now_iso
from ocmt_sync.errors import Exit, SyncError
from ocmt_sync.locks import exclusive
from ocmt_sync.planfile import parse, plan_text
from ocmt_sync.run import Applied


def apply_(
    context: typer.Context,
    *,
    plan: Annotated[Path | None, typer.Argument(help="A plan to apply.")] = None,
    go_on: Annotated[bool, typer.Option("--continue", help="Continue after a conflict.")] = False,
    skip: Annotated[
        str | None, typer.Option(help="Skip the conflicting commit, for this reason.")
    ] = None,
    abort: Annotated[bool, typer.Option("--abort", help="Restore everything.")] = False,
    as_json: Json = False,
) -> None:
    """Apply a plan to the sync branch, in a work tree of its own."""
    with speaking(as_json) as progress:
        here = session(context)
        if sum([plan is not None, go_on, skip is not None, abort]) > 1:
            raise SyncError(Exit.INPUT, "Give only one of: a plan, --continue, --skip, --abort.")
        repository, policy = here.open()
        with exclusive(repository.state) as lock:
            run = resumed_run(repository, policy, lock=lock)
            if run is None:
                if plan is None:
                    raise SyncError(Exit.INPUT, "There is no unfinished apply here. Name a plan.")
                run = start_run(
                    repository, policy, parse(text := plan_text(plan), source=str(plan)), text,
                    lock=lock, at=now_iso(here.clock()), by=operator(repository.git),
                )  # fmt: skip
            elif abort:
                run.undo()
                _say_abort(as_json)
                return
            elif plan is not None and plan_text(plan) != run.journal.plan:
                raise SyncError(
                    Exit.REFUSED,
                    "Another apply is unfinished. Run `ocmt sync apply --continue` or "
                    "`--abort` first.",
                )
            elif skip is not None:
                run.leave_out(skip)
            result = carry_out(run, progress)
        progress.end()
        _say_applied(result, as_json)


def _say_abort(as_json: bool) -> None:
    if as_json:
        emit({"aborted": True})
    else:
        say("Restored the state before the apply.")


def _say_applied(result: Applied, as_json: bool) -> None:
    if as_json:
        emit(
            {
                "picked": result.picked, "empty": result.empty, "decided": result.decided,
                "tip": result.tip, "worktree": str(result.worktree),
                "asForecast": result.as_forecast, "conflict": result.conflict or None,
                "paths": list(result.paths),
            }
        )  # fmt: skip
    elif result.conflict:
        say(
            styled(f"Conflict in {result.conflict[:12]}", fg="yellow")
            + f" (work tree: {result.worktree}):",
            *(f"  {path}" for path in result.paths),
            "Resolve and `git add` them there, then: ocmt sync apply --continue",
            "or leave the commit out: ocmt sync apply --skip REASON",
        )
    else:
        say(f"{result.picked} commits picked, {result.decided} decisions in the ledger.")
        if not result.as_forecast:
            say(styled("Some trees differ from the forecast (edited or resolved).", fg="yellow"))
        say("Next: ocmt sync test, then ocmt sync push")
    if result.conflict:
        raise typer.Exit(int(Exit.CONFLICT))
