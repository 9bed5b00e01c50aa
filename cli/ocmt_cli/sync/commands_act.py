"""`ocmt sync …`: the commands that act: fetch, plan, apply, decide, test, push."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from ocmt_cli.sync.apply import Applied, carry_out, resumed_run, start_run
from ocmt_cli.sync.checks import check_branch
from ocmt_cli.sync.console import (
    Json,
    Session,
    emit,
    say,
    session,
    speaking,
    styled,
)
from ocmt_cli.sync.decide import operator, record
from ocmt_cli.sync.errors import Exit, SyncError
from ocmt_cli.sync.fetch import fetch
from ocmt_cli.sync.filters import Author, PathPrefix, Since, Words, filters
from ocmt_cli.sync.git import shown
from ocmt_cli.sync.journal import write_whole
from ocmt_cli.sync.ledger import Act
from ocmt_cli.sync.locks import exclusive
from ocmt_cli.sync.plan import NEUTRAL_CONFLICT, Choice, make_plan
from ocmt_cli.sync.planfile import Plan, Strategy, read_plan, render
from ocmt_cli.sync.policy import CLASSES, Class
from ocmt_cli.sync.publish import open_pull_request, push
from ocmt_cli.sync.survey import now_iso, take_survey

_CONFLICTS_SHOWN = 20


def fetch_(context: typer.Context, as_json: Json = False) -> None:
    """Bring upstream, origin and the advisories up to date."""
    with speaking(as_json) as progress:
        repository, policy = session(context).open()
        progress("fetching", 0, 0)
        with exclusive(repository.state):
            done = fetch(repository, policy)
        progress.end()
        if as_json:
            emit(
                {
                    "before": done.before, "after": done.after, "new": done.new,
                    "rewritten": done.rewritten, "advisories": list(done.advisories),
                }
            )  # fmt: skip
            return
        say(f"{done.new} new commits; upstream is at {done.after[:12]}")
        if done.rewritten:
            say(
                styled("Upstream rewrote its history", fg="yellow")
                + f": {str(done.before)[:12]} is no longer in it. Decisions follow by patch-id."
            )


def plan_(
    context: typer.Context,
    *,
    cls: Annotated[
        list[str] | None, typer.Option("--class", help="Pick this class (default: always).")
    ] = None,
    security_only: Annotated[
        bool, typer.Option("--security-only", help="Pick only security commits.")
    ] = False,
    commit: Annotated[list[str] | None, typer.Option(help="Pick this commit, too.")] = None,
    path: PathPrefix = None,
    author: Author = None,
    grep: Words = None,
    since: Since = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Pick no more than this.")] = None,
    strategy: Annotated[str, typer.Option(help="pick, merge or snapshot.")] = "pick",
    tag: Annotated[str | None, typer.Option(help="Merge or snapshot this release tag.")] = None,
    compare: Annotated[bool, typer.Option(help="Forecast the other strategies, too.")] = True,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to write it.")] = Path(
        "sync-plan.toml"
    ),
    as_json: Json = False,
) -> None:
    """Choose commits, forecast their conflicts, write a plan to read and edit."""
    with speaking(as_json) as progress:
        here = session(context)
        chosen, wanted = _strategy(strategy, tag), filters(path, author, grep, since)
        survey = take_survey(*here.open(), today=here.clock().date(), progress=progress)
        choice = Choice(
            classes=() if security_only else tuple(_class(name) for name in cls or ["always"]),
            commits=frozenset(survey.find(name).commit.sha for name in commit or []),
            skip_unwanted=not security_only,
            limit=limit,
            filters=wanted,
        )
        plan = make_plan(
            survey, choice, strategy=chosen, tag=tag, compare=compare, progress=progress
        )
        write_whole(out.absolute(), render(plan, name=out.name))
        progress.end()
        if as_json:
            emit(_plan_json(plan, out))
        else:
            say(*_plan_lines(plan, out))


def _strategy(name: str, tag: str | None) -> Strategy:
    if name not in get_args(Strategy):
        raise SyncError(
            Exit.INPUT, f"Strategy {name!r} is none of {', '.join(get_args(Strategy))}."
        )
    if tag is not None and name == "pick":
        raise SyncError(Exit.INPUT, "--tag goes with --strategy snapshot or merge.")
    return name  # type: ignore[return-value]  # checked above


def _class(name: str) -> Class:
    for known in CLASSES:
        if known == name:
            return known
    raise SyncError(Exit.INPUT, f"Class {name!r} is none of {', '.join(CLASSES)}.")


def _plan_json(plan: Plan, out: Path) -> dict[str, Any]:
    return {
        "path": str(out),
        "strategy": plan.strategy,
        "base": plan.base,
        "tree": plan.tree,
        "compared": plan.compared,
        "conflicts": list(plan.conflicts),
        "commits": [
            {
                "do": line.do, "commit": line.commit, "class": line.cls,
                "subject": shown(line.subject), "security": line.security, "why": line.why,
                "tree": line.tree, "conflicts": list(line.conflicts), "needs": list(line.needs),
            }
            for line in plan.lines
        ],
    }  # fmt: skip


def _plan_lines(plan: Plan, out: Path) -> list[str]:
    lines = [f"Forecast, {how}: {what}" for how, what in plan.compared.items()]
    held = [line for line in plan.lines if line.conflicts]
    noise = [line for line in held if line.why == NEUTRAL_CONFLICT]
    shown_here = [line for line in held if line.why != NEUTRAL_CONFLICT]
    for line in shown_here[:_CONFLICTS_SHOWN]:
        lines.append(styled(f"{line.commit[:12]} {shown(line.subject)}", fg="yellow"))
        lines += [f"  {line.why}", *(f"  {path}" for path in line.conflicts)]
    if len(shown_here) > _CONFLICTS_SHOWN:
        lines.append(f"{len(shown_here) - _CONFLICTS_SHOWN} more conflict; {out} has them.")
    if noise:
        paths = sorted({path.rpartition(" (")[0] for line in noise for path in line.conflicts})
        lines.append(
            styled(f"{len(noise)} conflict only in neutral files", fg="yellow")
            + f": {', '.join(paths[:3])}. To merge such a file by lines: "
            f"echo '{paths[0]} merge=union' >> .gitattributes, and commit that."
        )
    lines += [styled(f"conflict: {path}", fg="yellow") for path in plan.conflicts]
    counts = {do: sum(line.do == do for line in plan.lines) for do in ("pick", "skip", "hold")}
    if plan.strategy == "pick":
        lines.append(", ".join(f"{count} {do}" for do, count in counts.items()))
    return [*lines, f"Wrote {out}. Check it, then: ocmt sync apply {out}"]


def apply_(
    context: typer.Context,
    *,
    plan: Annotated[Path | None, typer.Argument(help="A plan; none to go on.")] = None,
    go_on: Annotated[bool, typer.Option("--continue", help="Go on after a conflict.")] = False,
    skip: Annotated[str | None, typer.Option(help="Leave the conflicting commit: why.")] = None,
    abort: Annotated[bool, typer.Option("--abort", help="Put everything back.")] = False,
    as_json: Json = False,
) -> None:
    """Carry out a plan on the sync branch, in a work tree of its own."""
    with speaking(as_json) as progress:
        here = session(context)
        if sum([plan is not None, go_on, skip is not None, abort]) > 1:
            raise SyncError(Exit.INPUT, "Give a plan, --continue, --skip or --abort, not several.")
        repository, policy = here.open()
        with exclusive(repository.state) as lock:
            run = resumed_run(repository, policy, lock=lock)
            if run is None:
                if plan is None:
                    raise SyncError(Exit.INPUT, "No apply is unfinished here; name a plan.")
                parsed = read_plan(plan)
                run = start_run(
                    repository, policy, parsed, plan.read_text(encoding="utf-8"), lock=lock,
                    at=now_iso(here.clock()), by=operator(repository.git),
                )  # fmt: skip
            elif abort:
                run.undo()
                _say_abort(as_json)
                return
            elif plan is not None and plan.read_text(encoding="utf-8") != run.journal.plan:
                raise SyncError(
                    Exit.REFUSED,
                    "Another plan is unfinished: `ocmt sync apply --continue` or `--abort` first.",
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
        say("Put back as before the apply.")


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
            styled(f"Conflict in {result.conflict[:12]}", fg="yellow") + f", in {result.worktree}:",
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


def _decide(
    here: Session, commits: Sequence[str], act: Act, *, reason: str, until: str, as_json: bool
) -> None:
    with speaking(as_json) as progress:
        if act == "deferred":
            try:
                date.fromisoformat(until)
            except ValueError as error:
                raise SyncError(Exit.INPUT, f"{until!r} is no date such as 2030-01-31.") from error
        repository, policy = here.open()
        with exclusive(repository.state):
            now = here.clock()
            survey = take_survey(repository, policy, today=now.date(), progress=progress)
            items = [survey.find(name) for name in commits]
            tip = record(
                survey, items, act, reason=reason, until=until, at=now_iso(now),
                by=operator(repository.git),
            )  # fmt: skip
        progress.end()
        if as_json:
            emit({"act": act, "commits": [i.commit.sha for i in items], "tip": tip})
        else:
            say(f"{len(items)} recorded as {act} on {policy.sync_branch}.")


Commits = Annotated[list[str], typer.Argument(help="Upstream commits.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; the ledger keeps it.")]


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
    """Take a decision back."""
    _decide(session(context), commits, "reopened", reason=reason, until="", as_json=as_json)


def check_(
    context: typer.Context,
    *,
    bisect: Annotated[bool, typer.Option(help="Find the commit that broke it.")] = True,
    as_json: Json = False,
) -> None:
    """Run the policy's commands on the sync branch; on failure find the commit."""
    with speaking(as_json) as progress:
        repository, policy = session(context).open()
        with exclusive(repository.state):
            verdict = check_branch(repository, policy, bisect=bisect, progress=progress)
            subject = (
                shown(repository.git.text("log", "-1", "--format=%s", verdict.broke))
                if verdict.broke
                else ""
            )
        progress.end()
        failure = verdict.failure
        if as_json:
            emit(
                {
                    "passed": verdict.passed, "tip": verdict.tip, "broke": verdict.broke or None,
                    "brokeSubject": subject or None, "baseFails": verdict.base_fails,
                    "runs": verdict.tried, "durationS": round(verdict.duration_s, 3),
                    "failure": failure and {
                        "command": failure.command, "exitCode": failure.returncode,
                        "output": failure.output,
                    },
                }
            )  # fmt: skip
        elif failure is None:
            say(styled("The tests pass.", fg="green"))
        else:
            say(failure.output.rstrip(), styled(f"`{failure.command}` failed.", fg="red"))
            if verdict.broke:
                say(f"The first commit that fails: {verdict.broke[:12]} {subject}")
            elif verdict.base_fails:
                say("It fails before the sync's first commit, too: the sync did not break it.")
        if not verdict.passed:
            raise typer.Exit(int(Exit.FINDINGS))


def push_(
    context: typer.Context,
    pr: Annotated[bool, typer.Option("--pr", help="Open the PR with `gh`.")] = False,
    repo: Annotated[str | None, typer.Option(help="OWNER/NAME for the PR.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print the PR's text.")] = False,
    as_json: Json = False,
) -> None:
    """Push the sync branch to origin, without force, and print or open its PR."""
    with speaking(as_json) as progress:
        here = session(context)
        repository, policy = here.open()
        with exclusive(repository.state):
            survey = take_survey(repository, policy, today=here.clock().date(), progress=progress)
            progress("pushing", 0, 0)
            done = push(repository, policy, eye=survey.eye, repo=repo, dry_run=dry_run)
        opened = open_pull_request(done, policy) if pr and not dry_run else ""
        progress.end()
        if as_json:
            emit(
                {
                    "branch": done.branch, "tip": done.tip, "url": done.url, "repo": done.repo,
                    "pushed": not dry_run, "title": done.title, "body": done.body,
                    "pullRequest": opened or None,
                }
            )  # fmt: skip
        else:
            where = done.repo or done.url
            say(f"{'Would push' if dry_run else 'Pushed'} {done.branch} to {where}.", "")
            say(opened or f"{done.title}\n\n{done.body}")


def add_acting_commands(app: typer.Typer) -> None:
    for command in (fetch_, plan_, apply_, skip_, defer_, reopen_, push_):
        app.command(command.__name__.rstrip("_"))(command)
    app.command("test")(check_)
