"""The commands of `ocmt sync` that only report, and `init`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ocmt_sync.commands_act import add_acting_commands
from ocmt_sync.console import Json, Session, emit, say, session, speaking, styled
from ocmt_sync.divergence import Item, read_divergence
from ocmt_sync.doctor import examine
from ocmt_sync.errors import Exit, SyncError
from ocmt_sync.filters import Author, PathPrefix, Since, Words, filters
from ocmt_sync.git import shown
from ocmt_sync.policy import FOLD, POLICY_FILE, default_policy_bytes
from ocmt_sync.report import brief, show, status
from ocmt_sync.status_text import commit_line, status_lines

sync_app = typer.Typer(
    name="sync", help="Follow an upstream: what is new, what matters, what conflicts.",
    no_args_is_help=True, add_completion=False,
    # Plain help and errors, since importing rich takes as long as a cached status.
    rich_markup_mode=None, pretty_exceptions_enable=False,
)  # fmt: skip
_HOW = {
    "trailer": "named by the -x line of", "patch-id": "the same patch as",
    "empty": "picking it changes nothing", "reverted": "taken, and reverted by",
    "history": "the fork's history or its last snapshot contains it",
}  # fmt: skip
STATES = ("open", "taken", "applied", "skipped", "deferred", "empty", "reverted", "all")


@sync_app.callback()
def _options(
    context: typer.Context,
    repo: Annotated[Path, typer.Option(help="The fork's folder.")] = Path(),
    policy: Annotated[Path | None, typer.Option(help="A policy instead of sync.toml.")] = None,
) -> None:
    context.obj = Session(repo.absolute(), policy)


@sync_app.command("init")
def init_(context: typer.Context, as_json: Json = False) -> None:
    """Write the default policy to sync.toml, to be edited and committed."""
    with speaking(as_json):
        repository, _ = session(context).open()
        if repository.top is None:
            raise SyncError(Exit.REPOSITORY, "A bare repository has no place for sync.toml.")
        path = repository.top / POLICY_FILE
        try:
            with path.open("xb") as out:
                out.write(default_policy_bytes())
        except FileExistsError as error:
            raise SyncError(
                Exit.REFUSED, f"{path} already exists. Edit it, or remove it first."
            ) from error
        if as_json:
            emit({"policy": str(path)})
        else:
            say(f"Wrote {path}. Edit and commit it, then run: ocmt sync doctor")


@sync_app.command("status")
def status_(context: typer.Context, as_json: Json = False) -> None:
    """Show how far the fork is behind and ahead, by class, security first."""
    with speaking(as_json) as progress:
        here = session(context)
        report = status(*here.open(), now=here.clock(), progress=progress)
        progress.end()
        if as_json:
            emit(report)
        else:
            say(*status_lines(report))


@sync_app.command("list")
def list_(
    context: typer.Context,
    *,
    cls: Annotated[list[str] | None, typer.Option("--class", help="Only this class.")] = None,
    state: Annotated[str, typer.Option(help=f"One of {', '.join(STATES)}.")] = "open",
    security: Annotated[bool, typer.Option("--security", help="Only security commits.")] = False,
    path: PathPrefix = None,
    author: Author = None,
    grep: Words = None,
    since: Since = None,
    limit: Annotated[int, typer.Option(min=1, help="Commits per page.")] = 50,
    page: Annotated[int, typer.Option(min=1)] = 1,
    as_json: Json = False,
) -> None:
    """List upstream's commits, oldest first, in pages."""
    with speaking(as_json) as progress:
        for name in cls or []:
            if name not in FOLD:
                raise SyncError(Exit.INPUT, f"Class {name!r} is not one of {', '.join(FOLD)}.")
        if state not in STATES:
            raise SyncError(Exit.INPUT, f"State {state!r} is not one of {', '.join(STATES)}.")
        wanted = filters(path, author, grep, since)
        here = session(context)
        divergence = read_divergence(*here.open(), today=here.clock().date(), progress=progress)

        def fits(item: Item) -> bool:
            return (
                (not cls or item.cls in cls)
                and state in ("all", item.state)
                and (not security or bool(item.security))
                and wanted.fits(item)
            )

        found = [item for item in divergence.items.values() if fits(item)]
        pages = max(1, -(-len(found) // limit))
        part = [brief(item) for item in found[(page - 1) * limit : page * limit]]
        progress.end()
        if as_json:
            emit({"total": len(found), "page": page, "pages": pages, "commits": part})
        else:
            say(*map(commit_line, part), f"{len(found)} commits, page {page} of {pages}")


@sync_app.command("show")
def show_(context: typer.Context, commit: str, as_json: Json = False) -> None:
    """Show one commit: its class with the reason, its files, its forecast."""
    with speaking(as_json) as progress:
        here = session(context)
        divergence = read_divergence(*here.open(), today=here.clock().date(), progress=progress)
        found = show(divergence, divergence.find(commit))
        progress.end()
        if as_json:
            emit(found)
        else:
            say(*_show_lines(found))


def _show_lines(found: dict[str, Any]) -> list[str]:
    lines = [f"{found['commit']} {found['subject']}", f"by {found['author']}"]
    lines.append(f"class {found['class']}, {found['state']}")
    lines += [styled(f"security: {e}", fg="red") for e in found["security"]]
    if found["numbers"]:
        lines.append("linked: " + ", ".join(found["numbers"]))
    for cls, files in found["filesByClass"].items():
        lines.append(f"{cls}:")
        lines += [f"  {f['path']}  ({f['rule'] or 'no rule'}{_why(f)})" for f in files]
    if found["taken"]:
        lines.append(f"taken: {_HOW[found['taken']['how']]} {found['taken']['by'][:12]}".rstrip())
    if found["decision"]:
        decision = found["decision"]
        lines.append(
            f"{decision['act']} {decision['at']} by {decision['by']}: {decision['reason']}"
        )
    lines += [f"reverted later by {sha[:12]}" for sha in found["revertedBy"]]
    forecast = found["forecast"]
    if forecast["empty"]:
        lines.append("forecast: picking it changes nothing")
    elif forecast["clean"]:
        lines.append(styled("forecast: applies", fg="green"))
    else:
        lines.append(styled("forecast: conflicts", fg="yellow"))
        lines += [f"  {path} ({kind})" for path, kind in forecast["conflicts"].items()]
        lines += [f"  needs first {sha}" for sha in forecast["needs"]]
    return lines


def _why(file: dict[str, str]) -> str:
    return f": {file['why']}" if file["why"] else ""


@sync_app.command("ledger")
def ledger_(
    context: typer.Context,
    commit: Annotated[str | None, typer.Argument(help="Only this commit's decisions.")] = None,
    as_json: Json = False,
) -> None:
    """Show the decisions: what, when, by whom and why."""
    with speaking(as_json) as progress:
        here = session(context)
        divergence = read_divergence(*here.open(), today=here.clock().date(), progress=progress)
        entries = divergence.ledger.entries
        if commit is not None:
            sha = divergence.find(commit).commit.sha
            entries = [e for e in entries if e.commit == sha]
        progress.end()
        if as_json:
            fields = ("commit", "act", "reason", "until", "subject", "at", "by")
            emit({"entries": [{f: shown(getattr(e, f)) for f in fields} for e in entries]})
        else:
            for e in entries:
                until = f" until {e.until}" if e.until else ""
                say(f"{e.at} {e.commit[:12]} {e.act}{until} by {e.by}: {shown(e.reason)}")


@sync_app.command("doctor")
def doctor_(context: typer.Context, as_json: Json = False) -> None:
    """Check the policy, the remotes and the clone; exit 1 if something is wrong."""
    with speaking(as_json):
        here = session(context)
        findings = examine(*here.open(), now=here.clock())
        if as_json:
            emit({"findings": [{"code": f.code, "message": f.message} for f in findings]})
        elif findings:
            say(*(f"{styled(f.code, fg='red')}: {f.message}" for f in findings))
        else:
            say("All is well.")
        if findings:
            raise typer.Exit(int(Exit.FINDINGS))


add_acting_commands(sync_app)
