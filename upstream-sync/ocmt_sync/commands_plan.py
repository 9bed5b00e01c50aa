"""`ocmt sync plan`: chooses commits, forecasts them, writes the plan, and prints a summary."""

from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from ocmt_sync.console import Json, emit, say, session, speaking, styled
from ocmt_sync.divergence import read_divergence
from ocmt_sync.errors import Exit, SyncError
from ocmt_sync.filters import Author, PathPrefix, Since, Words, filters
from ocmt_sync.git import shown
from ocmt_sync.journal import write_whole
from ocmt_sync.plan import NEUTRAL_CONFLICT, Choice, make_plan
from ocmt_sync.planfile import Plan, Strategy, render
from ocmt_sync.policy import CLASSES, Class

_CONFLICTS_SHOWN = 20


def plan_(
    context: typer.Context,
    *,
    cls: Annotated[
        list[str] | None, typer.Option("--class", help="Pick this class (default: always).")
    ] = None,
    security_only: Annotated[
        bool, typer.Option("--security-only", help="Pick only security commits.")
    ] = False,
    commit: Annotated[list[str] | None, typer.Option(help="Also pick this commit.")] = None,
    path: PathPrefix = None,
    author: Author = None,
    grep: Words = None,
    since: Since = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Pick at most this many.")] = None,
    strategy: Annotated[str, typer.Option(help="pick, merge or snapshot.")] = "pick",
    tag: Annotated[str | None, typer.Option(help="Merge or snapshot this release tag.")] = None,
    compare: Annotated[bool, typer.Option(help="Also forecast the other strategies.")] = True,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to write the plan.")] = Path(
        "sync-plan.toml"
    ),
    as_json: Json = False,
) -> None:
    """Choose commits, forecast their conflicts, write a plan to read and edit."""
    with speaking(as_json) as progress:
        here = session(context)
        chosen, wanted = _strategy(strategy, tag), filters(path, author, grep, since)
        divergence = read_divergence(*here.open(), today=here.clock().date(), progress=progress)
        choice = Choice(
            classes=() if security_only else tuple(_class(name) for name in cls or ["always"]),
            commits=frozenset(divergence.find(name).commit.sha for name in commit or []),
            skip_unwanted=not security_only,
            limit=limit,
            filters=wanted,
        )
        plan = make_plan(
            divergence, choice, strategy=chosen, tag=tag, compare=compare, progress=progress
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
            Exit.INPUT, f"Strategy {name!r} is not one of {', '.join(get_args(Strategy))}."
        )
    if tag is not None and name == "pick":
        raise SyncError(Exit.INPUT, "--tag works only with --strategy snapshot or merge.")
    return name  # type: ignore[return-value]  # checked above


def _class(name: str) -> Class:
    for known in CLASSES:
        if known == name:
            return known
    raise SyncError(Exit.INPUT, f"Class {name!r} is not one of {', '.join(CLASSES)}.")


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
        lines.append(f"{len(shown_here) - _CONFLICTS_SHOWN} more conflict; see {out}.")
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
    return [*lines, f"Wrote {out}. Check it, then run: ocmt sync apply {out}"]
