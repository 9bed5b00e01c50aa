"""`ocmt sync fetch`, `test` and `push`."""

from typing import Annotated

import typer

from ocmt_sync.checks import check_branch
from ocmt_sync.commands_apply import apply_
from ocmt_sync.commands_decide import defer_, reopen_, skip_
from ocmt_sync.commands_plan import plan_
from ocmt_sync.console import Json, emit, say, session, speaking, styled
from ocmt_sync.divergence import read_divergence
from ocmt_sync.errors import Exit
from ocmt_sync.fetch import fetch
from ocmt_sync.git import shown
from ocmt_sync.locks import exclusive
from ocmt_sync.publish import open_pull_request, push


def fetch_(context: typer.Context, as_json: Json = False) -> None:
    """Fetch upstream, origin and the advisories."""
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
                + f": {str(done.before)[:12]} is no longer in it. "
                "Decisions are matched by patch-id."
            )


def check_(
    context: typer.Context,
    *,
    bisect: Annotated[bool, typer.Option(help="Find the commit that broke it.")] = True,
    as_json: Json = False,
) -> None:
    """Run the policy's commands on the sync branch; on failure, find the commit that broke them."""
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
                say("It also fails before the sync's first commit: the sync did not break it.")
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
            divergence = read_divergence(
                repository, policy, today=here.clock().date(), progress=progress
            )
            progress("pushing", 0, 0)
            done = push(
                repository,
                policy,
                security_sources=divergence.security_sources,
                repo=repo,
                dry_run=dry_run,
            )
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
