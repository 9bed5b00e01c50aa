"""Creates a plan: chooses commits by class and filter, in upstream's order, and forecasts them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ocmt_sync.divergence import Divergence, Item, Progress, refuse_diverged
from ocmt_sync.errors import Exit, SyncError
from ocmt_sync.filters import Filters
from ocmt_sync.forecast import (
    Forecaster,
    Step,
    forecaster,
    merge_resolution_files,
    prerequisites,
    sequence,
)
from ocmt_sync.git import shown
from ocmt_sync.history import Trees, trees_of
from ocmt_sync.planfile import Line, Plan, Strategy
from ocmt_sync.policy import CommitClass

# A conflict rarely needs more than a few earlier commits, and trying many would take minutes.
_TRIED_PREREQUISITES = 24
EMPTY = "picking it changes nothing here"
NEUTRAL_CONFLICT = "conflicts only in neutral files"


@dataclass(frozen=True, slots=True)
class Choice:
    """Which commits a plan lists (`filters`), and which of these it picks.

    Of the others, `skip_unwanted` skips the classes `skip` and `neutral`. Empty commits, and merges
    that `commits` does not name, are always skipped.
    """

    classes: tuple[CommitClass, ...] = ("always",)
    security: bool = True
    commits: Collection[str] = ()
    skip_unwanted: bool = True
    limit: int | None = None
    filters: Filters = field(default_factory=Filters)


def considered(divergence: Divergence, choice: Choice) -> list[Item]:
    """The commits that a plan lists: open ones by its filters, named ones, and reverts of both.

    A revert that was skipped together with its commit is relevant again if that commit is picked.
    """
    waiting = {i.commit.sha for i in divergence.open if choice.filters.fits(i)} | set(
        choice.commits
    )
    return [
        item
        for sha, item in divergence.items.items()
        if sha in waiting
        or (item.already_picked is None and not waiting.isdisjoint(item.commit.reverts))
    ]


def choose(items: Sequence[Item], choice: Choice) -> list[Line]:
    """The line of each commit, by its class and `choice`, without a forecast."""
    lines: list[Line] = []
    picked: set[str] = set()
    for item in items:
        sha = item.commit.sha
        line = Line("hold", sha, item.cls, item.commit.subject, security=bool(item.security))
        wanted = (
            sha in choice.commits
            or (choice.security and bool(item.security))
            or item.cls in choice.classes
            # A plan that picks a commit also picks upstream's revert of it.
            or not picked.isdisjoint(item.commit.reverts)
        )
        if not wanted and not item.open:
            continue
        if item.commit.is_merge and sha not in choice.commits:
            line = replace(line, do="skip", why="a merge; its commits are decided one by one")
        elif not item.commit.files and not item.commit.is_merge:
            line = replace(line, do="skip", why="an empty commit")
        elif wanted and (choice.limit is None or len(picked) < choice.limit):
            line = replace(line, do="pick", why="; ".join(item.security[:2]))
            picked.add(sha)
        elif not wanted and choice.skip_unwanted and item.cls in ("skip", "neutral"):
            line = replace(line, do="skip", why=f"policy: {item.cls}")
        lines.append(line)
    return lines


def make_plan(
    divergence: Divergence,
    choice: Choice,
    *,
    strategy: Strategy,
    tag: str | None,
    compare: bool,
    progress: Progress,
) -> Plan:
    """Create a plan with its forecast, without changing the repository. Raises `SyncError`."""
    refs = divergence.refs
    refuse_diverged(divergence)
    items = considered(divergence, choice)
    lines = choose(items, choice)
    chosen = [line.commit for line in lines if line.do == "pick"]
    target, name = _target(divergence, strategy, tag)
    git = divergence.repository.git
    start = git.tree_of(refs.base)
    trees = trees_of(git, chosen)
    compared: dict[str, str] = {}
    steps: dict[str, Step] = {}
    with forecaster(divergence.repository, refs.base) as cast:
        old = snapshot_base(divergence) if strategy == "snapshot" else None
        if strategy == "snapshot" and old is None:
            raise SyncError(
                Exit.REPOSITORY, "The fork has no common history with upstream to start from."
            )
        plan = Plan(strategy, refs.base, refs.upstream, target, name, start, before=old or "")
        if strategy == "pick" or compare:
            lines = _evil_merges(divergence, lines)
            steps = _forecast(divergence, cast, chosen, trees, progress)
            lines = _explained(divergence, cast, lines, start=start, steps=steps, trees=trees)
            bad = sum(bool(s.conflicts) for s in steps.values())
            compared["pick"] = f"{len(chosen)} commits, {bad} conflicting"
        if strategy == "pick":
            last = steps[chosen[-1]].tree if chosen else start
            plan = replace(plan, lines=tuple(lines), tree=last)
        for how in ("merge", "snapshot"):
            if how != strategy and not compare:
                continue
            progress(f"forecasting a {how}", 0, 0)
            of, label = _target(divergence, how, tag if how == strategy else None)
            outcome = whole(divergence, cast, how, of)
            files = tuple(f"{path} ({kind})" for path, kind in sorted(outcome[1].items()))
            compared[how] = f"{label}, {len(files)} conflicting files"
            if how == strategy:
                plan = replace(plan, tree=outcome[0] if not files else "", conflicts=files)
    return replace(plan, compared=compared)


def _target(divergence: Divergence, strategy: str, tag: str | None) -> tuple[str, str]:
    """`(hash, name)` of the commit to merge or snapshot; both empty for picks.

    It is the tag's commit, or else upstream's head; for a snapshot its newest tag, if it has one.
    Raises `SyncError`.
    """
    git = divergence.repository.git
    head = f"{divergence.policy.upstream_remote}/{divergence.policy.upstream_branch}"
    if strategy == "pick":
        return "", ""
    if tag is not None:
        sha = git.resolve(f"refs/tags/{tag}")
        if sha is None:
            raise SyncError(
                Exit.REPOSITORY, f"There is no tag `{tag}` here. Run `ocmt sync fetch`."
            )
        return sha, tag
    if strategy == "merge":
        return divergence.refs.upstream, head
    newest = git.result("describe", "--tags", "--abbrev=0", divergence.refs.upstream)
    name = newest.stdout.decode("utf-8", "surrogateescape").strip()
    sha = git.resolve(f"refs/tags/{name}") if name else None
    return (sha, name) if sha else (divergence.refs.upstream, head)


def snapshot_base(divergence: Divergence) -> str | None:
    """The upstream commit of the last snapshot, or else the merge base."""
    last = [c.snapshot_of for c in divergence.ours if c.snapshot_of]
    return last[-1] if last else divergence.merge_base


def whole(
    divergence: Divergence, cast: Forecaster, how: str, target: str
) -> tuple[str, Mapping[str, str]]:
    """The tree and conflicts of taking everything up to `target` at once."""
    git, base = divergence.repository.git, divergence.refs.base
    if how == "merge":
        if divergence.merge_base is None:
            return "", {"(everything)": "unrelated histories"}
        outcome = cast.merge_commits(base, target)
    else:
        old = snapshot_base(divergence)
        before = git.tree_of(old) if old else ""
        outcome = cast.merge_trees(before, git.tree_of(base), git.tree_of(target))
    return outcome.tree, outcome.conflicts


def _forecast(
    divergence: Divergence,
    cast: Forecaster,
    chosen: Sequence[str],
    trees: Mapping[str, Trees],
    progress: Progress,
) -> dict[str, Step]:
    steps: dict[str, Step] = {}
    start = divergence.repository.git.tree_of(divergence.refs.base)
    attributed = {sha for sha in chosen if _sets_attributes(divergence.items[sha])}
    picked = sequence(cast, start, chosen, trees, attributed=attributed)
    for number, step in enumerate(picked, 1):
        progress("forecasting", number, len(chosen))
        steps[step.sha] = step
    return steps


def _sets_attributes(item: Item) -> bool:
    # A merge lists no files but may change any.
    names = {path.rpartition("/")[2] for path in item.commit.files}
    return item.commit.is_merge or ".gitattributes" in names


def _evil_merges(divergence: Divergence, lines: list[Line]) -> list[Line]:
    """Hold merges with a manual resolution, which picking their commits would lose."""
    out: list[Line] = []
    for line in lines:
        if line.do == "skip" and divergence.items[line.commit].commit.is_merge:
            files = merge_resolution_files(divergence.repository.git, line.commit)
            if files:
                names = ", ".join(shown(f) for f in files[:5])
                line = replace(line, do="hold", why=f"a merge resolved by hand in {names}")  # noqa: PLW2901
        out.append(line)
    return out


def _explained(
    divergence: Divergence,
    cast: Forecaster,
    lines: Sequence[Line],
    *,
    start: str,
    steps: Mapping[str, Step],
    trees: Mapping[str, Trees],
) -> list[Line]:
    """The lines with their forecast; conflicting picks are held, with the commits they need."""
    out: list[Line] = []
    tree = start
    earlier = _left_before(divergence, steps)
    tried = {sha for found in earlier.values() for sha in found[-_TRIED_PREREQUISITES:]}
    trees = {**trees, **trees_of(divergence.repository.git, sorted(tried - trees.keys()))}
    for line in lines:
        step = steps.get(line.commit)
        if step is None:
            out.append(line)
        elif step.conflicts:
            why, needs = _conflict(
                divergence, cast, step, earlier[line.commit], tree=tree, trees=trees
            )
            files = tuple(f"{shown(p)} ({kind})" for p, kind in sorted(step.conflicts.items()))
            out.append(replace(line, do="hold", why=why, conflicts=files, needs=tuple(needs)))
        elif step.empty:
            out.append(replace(line, do="skip", why=EMPTY))
        else:
            out.append(replace(line, tree=step.tree))
            tree = step.tree
    return out


def _weighty(divergence: Divergence, step: Step) -> set[str]:
    """The conflicting files that are not `neutral`."""
    return {path for path in step.conflicts if divergence.policy.class_of_file(path) != "neutral"}


def _left_before(divergence: Divergence, steps: Mapping[str, Step]) -> dict[str, list[str]]:
    """Conflicting pick → the earlier commits on the same files that the fork lacks, oldest first.

    Includes skipped and filtered commits, but not those that this plan picks.
    """
    weighty = {sha: _weighty(divergence, step) for sha, step in steps.items() if step.conflicts}
    touching: dict[str, list[tuple[int, str]]] = {p: [] for ps in weighty.values() for p in ps}
    out: dict[str, list[str]] = {}
    for number, (sha, item) in enumerate(divergence.items.items()):
        if sha in weighty:
            found = {one for path in weighty[sha] for one in touching[path]}
            out[sha] = [other for _, other in sorted(found)]
        step = steps.get(sha)
        picked = step is not None and not step.conflicts and not step.empty
        if item.already_picked is None and not picked:
            for path in touching.keys() & item.commit.files:
                touching[path].append((number, sha))
    return out


def _conflict(
    divergence: Divergence,
    cast: Forecaster,
    step: Step,
    earlier: Sequence[str],
    *,
    tree: str,
    trees: Mapping[str, Trees],
) -> tuple[str, Sequence[str]]:
    """Why a pick conflicts, and the commits among the `earlier` ones that it needs."""
    paths = _weighty(divergence, step)
    if not paths:
        return NEUTRAL_CONFLICT, ()
    tried = earlier[-_TRIED_PREREQUISITES:]
    needs = prerequisites(cast, tree, step.sha, tried, trees, paths=paths)
    if needs:
        return "conflicts; needs first " + ", ".join(sha[:12] for sha in needs), needs
    mine = [c for c in divergence.ours if not c.picked_from and not paths.isdisjoint(c.files)]
    if mine:
        last = mine[-1]
        return f"conflicts with our {last.sha[:12]} {shown(last.subject)[:60]}", ()
    if earlier:
        return f"conflicts; earlier commits not taken touch the same files: {len(earlier)}", ()
    return "conflicts with the state of the fork", ()
