"""The operations of an apply on the sync work tree: picks, a merge, a snapshot."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ocmt_sync import worktree
from ocmt_sync.errors import GitFailed
from ocmt_sync.git import Git, complaint, raw, text
from ocmt_sync.planfile import Plan


@dataclass(frozen=True, slots=True)
class Attempt:
    """The result of a step. `paths` are those in conflict."""

    kind: Literal["done", "empty", "conflict"]
    paths: tuple[str, ...] = ()


def pick_many(git: Git, shas: Sequence[str]) -> bool:
    """Pick several commits with one git command. Returns whether all applied.

    If one does not, the picks before it stay, and the work tree is reset to the last of them.
    """
    done = git.result("cherry-pick", "-x", *shas)
    if done.returncode != 0:
        worktree.put_back(git)
    return done.returncode == 0


def pick_one(git: Git, sha: str) -> Attempt:
    """Pick one commit (a merge against its first parent)."""
    is_merge = git.succeeds("rev-parse", "--verify", "--quiet", f"{sha}^2")
    done = git.result("cherry-pick", "-x", *(["-m", "1"] if is_merge else []), sha)
    if done.returncode == 0:
        return Attempt("done")
    if not worktree.head_file(git, "CHERRY_PICK_HEAD"):
        raise _failed(f"picking {sha[:12]}", done.stderr, done.returncode)
    return _settle(git, f"picking {sha[:12]}", done.stderr)


def _settle(git: Git, what: str, stderr: bytes) -> Attempt:
    """The result after git stopped: a conflict, nothing to commit, or resolved by rerere."""
    paths = worktree.unmerged(git)
    if paths:
        return Attempt("conflict", tuple(paths))
    if git.succeeds("diff", "--cached", "--quiet", "HEAD"):
        if b"is now empty" not in stderr and b"nothing to commit" not in stderr:
            raise _failed(what, stderr, 1)
        worktree.put_back(git)
        return Attempt("empty")
    if worktree.marked(git, worktree.unfinished(git)):
        raise _failed(what, stderr, 1)
    commit_resolved(git)
    return Attempt("done")


def commit_resolved(git: Git) -> None:
    """Commit a resolved pick or merge with git's prepared message and the picked commit's author.

    Removes the list of conflicts, which git appends for an editor to strip.
    """
    prepared = Path(git.text("rev-parse", "--git-path", "MERGE_MSG"))
    message = (git.cwd / prepared).read_bytes()
    message = message.split(b"\n# Conflicts:\n")[0].rstrip(b"\n") + b"\n"
    git.output("commit", "--quiet", "--no-verify", "--cleanup=verbatim", "-F", "-", stdin=message)


def _failed(what: str, stderr: bytes, returncode: int) -> GitFailed:
    said = complaint(stderr)
    return GitFailed(f"{what} failed: {said}", stderr=text(stderr), returncode=returncode)


def take_merge(git: Git, plan: Plan, at: str) -> Attempt:
    """Merge upstream's commit `plan.target`."""
    message = f"Merge upstream {plan.target_name}"
    done = git.result("merge", "--no-ff", "--no-verify", "-m", message, plan.target)
    if done.returncode == 0:
        return Attempt("done")
    if not worktree.head_file(git, "MERGE_HEAD"):
        raise _failed(f"merging {plan.target_name} at {at}", done.stderr, done.returncode)
    return _settle(git, f"merging {plan.target_name}", done.stderr)


def snapshot(git: Git, plan: Plan, at: str) -> Attempt:
    """Commit upstream's tree at the target plus the fork's own changes, as one commit.

    Creates and picks a commit from the last snapshot's tree to the target's, so that conflicts are
    resolved as in any pick.
    """
    before = git.tree_of(plan.before)
    dated = {"GIT_AUTHOR_DATE": at, "GIT_COMMITTER_DATE": at}
    maker = replace(git, environment=dated)
    root = maker.text("commit-tree", before, "-m", "Upstream before")
    message = (
        f"Snapshot of upstream {plan.target_name}\n\n"
        f"Upstream-Snapshot: {plan.target_name} {plan.target}\n"
    )
    step = maker.text(
        "commit-tree", git.tree_of(plan.target), "-p", root, "-F", "-", stdin=raw(message)
    )
    done = git.result("cherry-pick", step)
    if done.returncode == 0:
        return Attempt("done")
    if not worktree.head_file(git, "CHERRY_PICK_HEAD"):
        raise _failed(f"the snapshot of {plan.target_name}", done.stderr, done.returncode)
    return _settle(git, f"the snapshot of {plan.target_name}", done.stderr)
