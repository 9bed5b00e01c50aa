"""Decisions for the ledger: a plan's, and individual ones (skip, defer, reopen)."""

import tempfile
from collections.abc import Callable, Mapping, Sequence

from ocmt_sync import worktree
from ocmt_sync.already_picked import patch_ids
from ocmt_sync.divergence import Divergence, Item, refuse_diverged
from ocmt_sync.errors import Exit, GitFailed, SyncError
from ocmt_sync.git import Git
from ocmt_sync.journal import UNFINISHED, Journal, read_journal
from ocmt_sync.ledger import Act, Entry, ledger_file
from ocmt_sync.planfile import Line, Plan


def record(
    divergence: Divergence,
    items: Sequence[Item],
    act: Act,
    *,
    reason: str,
    until: str,
    at: str,
    by: str,
) -> str:
    """Commit one ledger file to the sync branch and return the new tip.

    Needs no work tree; one with the branch checked out is reset to the tip. Raises `SyncError`.
    """
    repository, policy, refs = divergence.repository, divergence.policy, divergence.refs
    git, branch = repository.git, policy.sync_branch
    if read_journal(repository.state) is not None:
        raise SyncError(Exit.REFUSED, UNFINISHED)
    refuse_diverged(divergence)
    ids = patch_ids(git, [item.commit.sha for item in items], divergence.cache)
    entries = [
        Entry(i.commit.sha, act, reason, until, i.commit.subject, ids.get(i.commit.sha, ""), at, by)
        for i in items
    ]
    tree = worktree.find_tree(repository, branch)
    if tree is not None:
        worktree.refuse_dirty(worktree.sync_git(tree), policy.ledger)
    name, body = ledger_file(entries, at)
    tip = _commit(divergence, f"{policy.ledger}/{name}", body, f"Record {len(entries)} as {act}")
    before = refs.sync or "0" * len(tip)
    git.output("update-ref", "-m", f"ocmt sync: {act}", f"refs/heads/{branch}", tip, before)
    if tree is not None:
        worktree.sync_git(tree).output("reset", "--hard", "--quiet", tip)
    return tip


def plan_entries(
    plan: Plan, journal: Journal, ids: Callable[[Sequence[str]], Mapping[str, str]]
) -> list[Entry]:
    """The decisions to record for an applied plan of picks."""
    acts: list[tuple[Line, Act, str]] = []
    for line in plan.lines:
        sha = line.commit
        if line.do == "pick" and sha in journal.skipped:
            acts.append((line, "skipped", journal.skipped[sha]))
        elif line.do == "pick" and sha in journal.emptied:
            acts.append((line, "empty", "picking it changed nothing"))
        elif line.do == "pick":
            acts.append((line, "applied", line.why))
        elif line.do == "skip":
            acts.append((line, "skipped", line.why))
        elif line.do == "defer":
            acts.append((line, "deferred", line.why))
    patches = ids([line.commit for line, _, _ in acts])
    return [
        Entry(
            line.commit, act, why, line.until if act == "deferred" else "", line.subject,
            patches.get(line.commit, ""), journal.at, journal.by,
        )
        for line, act, why in acts
    ]  # fmt: skip


def _commit(divergence: Divergence, path: str, body: bytes, subject: str) -> str:
    git, base = divergence.repository.git, divergence.refs.base
    with tempfile.TemporaryDirectory(prefix="ocmt-sync-") as made:
        staged = Git(git.cwd, {"GIT_INDEX_FILE": f"{made}/index"})
        staged.output("read-tree", base)
        blob = staged.text("hash-object", "-w", "--stdin", stdin=body)
        staged.output("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}")
        return staged.text("commit-tree", staged.text("write-tree"), "-p", base, "-m", subject)


def operator(git: Git) -> str:
    """The committer as git is configured: `NAME <ADDRESS>`. Raises `SyncError` if it is not set."""
    try:
        return git.text("var", "GIT_COMMITTER_IDENT").rsplit(" ", 2)[0]
    except GitFailed as error:
        raise SyncError(
            Exit.REFUSED, "Set git's user.name and user.email: the ledger records them."
        ) from error
