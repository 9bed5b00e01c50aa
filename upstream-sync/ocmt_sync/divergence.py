"""Reads how the fork and its upstream differ, for every command that decides or reports."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property

from ocmt_sync.already_picked import AlreadyPicked, find_already_picked, patch_ids
from ocmt_sync.errors import Exit, SyncError
from ocmt_sync.forecast import forecaster
from ocmt_sync.git import Repository, raw, text
from ocmt_sync.history import Commit, CommitCache, trees_of
from ocmt_sync.ledger import Entry, Ledger, read_ledger
from ocmt_sync.objects import hashed
from ocmt_sync.policy import CommitClass, Policy
from ocmt_sync.security import (
    SecuritySources,
    load_advisories,
    message_evidence,
    read_owners,
)

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Refs:
    """The heads of the branches.

    `base` is the commit to which picks are added: the head of the sync branch (the local one or, if
    it is ahead, origin's), or of the fork's main branch if that contains the sync branch or there
    is none.
    """

    upstream: str
    main: str
    main_ref: str
    sync: str | None
    origin_sync: str | None
    base: str
    diverged: bool

    @property
    def ours(self) -> list[str]:
        return [r for r in dict.fromkeys([self.main, self.sync, self.origin_sync]) if r]


def _named(policy: Policy) -> list[str]:
    heads = [policy.fork_branch, policy.sync_branch]
    return [
        policy.upstream_ref,
        *(f"refs/heads/{name}" for name in heads),
        *(f"refs/remotes/{policy.fork_remote}/{name}" for name in heads),
    ]


def read_refs(repository: Repository, policy: Policy) -> Refs:
    """Resolve the branches. Raises `SyncError` with the cure if one is missing."""
    git = repository.git
    refs = dict(
        line.split(" ", 1)[::-1]
        for line in git.lines("for-each-ref", "--format=%(objectname) %(refname)", *_named(policy))
    )
    upstream = refs.get(policy.upstream_ref)
    if upstream is None:
        if policy.upstream_remote not in git.lines("remote"):
            raise SyncError(
                Exit.REPOSITORY,
                f"There is no remote `{policy.upstream_remote}`. Add it: git remote add "
                f"{policy.upstream_remote} https://github.com/openclaw/openclaw.git",
            )
        raise SyncError(
            Exit.REPOSITORY,
            f"{policy.upstream_remote}/{policy.upstream_branch} is not fetched yet: "
            "run `ocmt sync fetch`.",
        )
    main_ref = f"refs/heads/{policy.fork_branch}"
    main = refs.get(main_ref)
    if main is None:
        main_ref = f"refs/remotes/{policy.fork_remote}/{policy.fork_branch}"
        main = refs.get(main_ref)
    if main is None:
        raise SyncError(
            Exit.REPOSITORY,
            f"The fork has no branch `{policy.fork_branch}`. Correct fork.branch in the policy, or "
            "run `ocmt sync fetch`.",
        )
    sync = refs.get(f"refs/heads/{policy.sync_branch}")
    origin_sync = refs.get(f"refs/remotes/{policy.fork_remote}/{policy.sync_branch}")
    base, diverged = sync or main, False
    if origin_sync is not None and origin_sync != sync:
        if sync is None or git.is_ancestor(sync, origin_sync):
            base = origin_sync
        else:
            diverged = not git.is_ancestor(origin_sync, sync)
    if base != main and git.is_ancestor(base, main):
        base, diverged = main, False
    return Refs(upstream, main, main_ref, sync, origin_sync, base, diverged)


@dataclass(frozen=True, slots=True)
class Item:
    """An upstream commit that the fork's branches do not contain, with its class and decision."""

    commit: Commit
    cls: CommitClass
    security: tuple[str, ...]
    already_picked: AlreadyPicked | None
    entry: Entry | None
    open: bool

    @property
    def state(self) -> str:
        if self.already_picked is not None:
            return "reverted" if self.already_picked.how == "reverted" else "taken"
        if self.open or self.entry is None:
            return "open"
        return self.entry.act


@dataclass(frozen=True)
class Divergence:
    """Upstream's commits that the fork's branches do not contain, and the fork's own.

    Both are oldest first.
    """

    repository: Repository
    policy: Policy
    refs: Refs
    items: Mapping[str, Item]
    ours: Sequence[Commit]
    ledger: Ledger
    security_sources: SecuritySources
    cache: CommitCache

    @property
    def open(self) -> list[Item]:
        return [item for item in self.items.values() if item.open]

    @cached_property
    def merge_base(self) -> str | None:
        done = self.repository.git.result("merge-base", self.refs.base, self.refs.upstream)
        return text(done.stdout).strip() or None

    def find(self, name: str) -> Item:
        """The upstream commit to which `name` resolves; it may be in the fork's history.

        Raises `SyncError` if there is none.
        """
        sha = self.repository.git.resolve(name)
        if sha is None:
            raise SyncError(
                Exit.REPOSITORY,
                f"This repository has no commit `{name}`. Correct it, or run `ocmt sync fetch`.",
            )
        if sha in self.items:
            return self.items[sha]
        if not self.repository.git.is_ancestor(sha, self.refs.upstream):
            raise SyncError(
                Exit.REPOSITORY,
                f"{name} is not a commit of {self.policy.upstream_remote}/"
                f"{self.policy.upstream_branch}.",
            )
        commit = read_commits(self.repository, self.policy, self.cache, [sha])[sha]
        evidence = tuple(self.security_sources.evidence(commit))
        cls = self.policy.class_of(commit.files)
        return Item(commit, cls, evidence, AlreadyPicked("history", ""), None, False)


def refuse_diverged(divergence: Divergence) -> None:
    """Raise `SyncError` if both the sync branch and origin's have commits of their own."""
    policy = divergence.policy
    if divergence.refs.diverged:
        raise SyncError(
            Exit.REFUSED,
            f"`{policy.sync_branch}` and the branch on {policy.fork_remote} have diverged. "
            f"Rebase yours onto {policy.fork_remote}/{policy.sync_branch}.",
        )


def make_cache(repository: Repository, policy: Policy) -> CommitCache:
    words = "\n".join([*policy.keywords, "", *policy.trailers])
    return CommitCache(repository.state, flavour=hashed(words))


def read_commits(
    repository: Repository, policy: Policy, cache: CommitCache, shas: Sequence[str]
) -> dict[str, Commit]:
    return cache.commits(
        repository.git, shas, lambda subject, body: message_evidence(policy, subject, body)
    )


def read_divergence(
    repository: Repository, policy: Policy, *, today: date, progress: Progress
) -> Divergence:
    """Read and classify the commits that the fork lacks, and find those it has in another form.

    Raises `SyncError`.
    """
    git, refs = repository.git, read_refs(repository, policy)
    cache = make_cache(repository, policy)
    progress("reading the fork's commits", 0, 0)
    mine = git.lines(
        "rev-list", "--topo-order", "--reverse", *refs.ours, "--not", refs.upstream, "--"
    )
    ours = list(read_commits(repository, policy, cache, mine).values())
    snapshots = [c.snapshot_of for c in ours if c.snapshot_of and git.resolve(c.snapshot_of)]
    progress("reading upstream's commits", 0, 0)
    new = git.lines(
        "rev-list",
        "--topo-order",
        "--reverse",
        refs.upstream,
        "--not",
        *refs.ours,
        *snapshots,
        "--",
    )
    commits = read_commits(repository, policy, cache, new)
    ledger = read_ledger(git, refs.ours, policy.ledger)
    advisories, _ = load_advisories(policy, top=repository.top, state=repository.state)
    security_sources = SecuritySources(read_owners(git, refs.upstream, policy.teams), advisories)
    progress("looking for commits that are already picked", 0, 0)
    already_picked = find_already_picked(commits, ours, lambda shas: patch_ids(git, shas, cache))
    already_picked.update(
        _emptied(repository, refs, cache, commits=commits, ours=ours, already_picked=already_picked)
    )
    entries = _entries(ledger, commits, lambda shas: patch_ids(git, shas, cache))
    items = {
        sha: Item(
            commit=commit,
            cls=policy.class_of(commit.files),
            security=tuple(security_sources.evidence(commit)),
            already_picked=already_picked.get(sha),
            entry=entries.get(sha),
            open=sha not in already_picked
            and ((entry := entries.get(sha)) is None or entry.is_open(today)),
        )
        for sha, commit in commits.items()
    }
    return Divergence(repository, policy, refs, items, ours, ledger, security_sources, cache)


def _entries(
    ledger: Ledger, commits: Mapping[str, Commit], ids: Callable[..., Mapping[str, str]]
) -> dict[str, Entry]:
    """Commit → decision; after a rewrite of upstream's history, found by patch-id."""
    entries = {sha: e for sha in commits if (e := ledger.by_commit.get(sha))}
    strangers = [
        sha
        for sha, commit in commits.items()
        if sha not in entries and commit.subject in ledger.subjects
    ]
    for sha, patch in (ids(strangers) if strangers else {}).items():
        if patch in ledger.by_patch_id:
            entries[sha] = ledger.by_patch_id[patch]
    return entries


def _emptied(
    repository: Repository,
    refs: Refs,
    cache: CommitCache,
    *,
    commits: Mapping[str, Commit],
    ours: Sequence[Commit],
    already_picked: Mapping[str, AlreadyPicked],
) -> dict[str, AlreadyPicked]:
    """Commits whose pick would change nothing, because an edited pick has their content.

    Tries only commits whose every file the fork has changed: any other file has upstream's older
    content in the fork. Files changed by picks with an `-x` line do not count, or each day's
    commits would be tried for touching the same files as the day before's.
    """
    own_files = {path for commit in ours if not commit.picked_from for path in commit.files}
    probed = [
        sha
        for sha, c in commits.items()
        if c.files
        and sha not in already_picked
        and not c.is_merge
        and own_files.issuperset(c.files)
    ]
    if not probed:
        return {}
    git = repository.git
    tree = git.tree_of(refs.base)
    kind = f"probe:{tree}"
    known = {sha: value == b"1" for sha, value in cache.get(kind, probed).items()}
    missing = [sha for sha in probed if sha not in known]
    if missing:
        trees = trees_of(git, missing)
        with forecaster(repository, tree) as cast:
            for sha in missing:
                outcome = cast.pick(tree, trees[sha])
                known[sha] = outcome.clean and outcome.tree == tree
        cache.put(kind, ((sha, b"1" if known[sha] else b"0") for sha in missing))
    return {sha: AlreadyPicked("empty", "") for sha, empty in known.items() if empty}


def now_iso(now: datetime) -> str:
    return f"{now:%Y-%m-%dT%H:%M:%S.%fZ}"


def divergence_surface(divergence: Divergence) -> list[str]:
    """Upstream's files that the fork changed, in which its changes can conflict."""
    base = divergence.merge_base
    if base is None:
        return []
    git = divergence.repository.git
    changed = git.output(
        "diff-tree", "-r", "-z", "--name-only", "--no-renames", base, divergence.refs.base
    )
    names = {name for name in changed.split(b"\0") if name}
    kept = git.output("ls-tree", "-r", "-z", "--name-only", "--full-tree", base).split(b"\0")
    picked = {raw(f) for i in divergence.items.values() if i.already_picked for f in i.commit.files}
    own = {raw(f) for c in divergence.ours if not c.picked_from for f in c.files}
    return sorted(text(n) for n in names.intersection(kept) if n in own or n not in picked)
