"""Runs an apply from its journal: picks, conflicts and their resolution, the ledger, undo.

An apply that is killed at any point continues to the same result. The branch shows which picks are
done, since each names its source; an interrupted pick is undone; and only a conflict recorded in
the journal is treated as the operator's unfinished work.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ocmt_sync import worktree
from ocmt_sync.already_picked import patch_ids
from ocmt_sync.decide import plan_entries
from ocmt_sync.divergence import make_cache
from ocmt_sync.errors import Exit, SyncError
from ocmt_sync.git import Repository, shown, text
from ocmt_sync.history import PICKED
from ocmt_sync.journal import Journal, remove_journal, write_journal, write_whole
from ocmt_sync.ledger import ledger_file
from ocmt_sync.planfile import Line, parse
from ocmt_sync.policy import Policy
from ocmt_sync.steps import Attempt, commit_resolved, pick_many, pick_one, snapshot, take_merge

Progress = Callable[[str, int, int], None]
_BATCH = 40


@dataclass(frozen=True, slots=True)
class Applied:
    """The result of an apply. `conflict` is the commit that stopped it, `paths` what to resolve."""

    picked: int
    empty: int
    decided: int
    tip: str
    worktree: Path
    as_forecast: bool
    conflict: str = ""
    paths: tuple[str, ...] = ()


class Run:
    """An apply in progress."""

    def __init__(
        self, repository: Repository, policy: Policy, journal: Journal, *, lock: int
    ) -> None:
        self.repository = repository
        self.policy = policy
        self.journal = journal
        self.plan = parse(journal.plan, source="the plan being applied")
        # Not the operator's current folder, which may be the work tree that `undo` removes.
        self.user_git = worktree.sync_git(repository.common_dir, lock=lock)
        self.git = worktree.sync_git(Path(journal.worktree), lock=lock)

    def save(self) -> None:
        write_journal(self.repository.state, self.journal)

    def prepare(self) -> None:
        """Create or find the work tree, on the sync branch at the plan's base or a later commit."""
        branch = self.policy.sync_branch
        found = worktree.find_tree(self.repository, branch)
        if found is None:
            place = Path(self.journal.worktree)
            if self.journal.made_worktree and worktree.is_registered(self.user_git, place):
                worktree.remove_tree(self.user_git, place)  # interrupted while git made it
            worktree.make_tree(self.user_git, place, branch, self.journal.base)
        worktree.drop_stale_locks(self.git, self.repository, branch)
        if self.git.text("rev-parse", "--abbrev-ref", "HEAD") != branch:
            worktree.put_back(self.git)
            self.git.output("checkout", "--quiet", branch)
        if not self.git.is_ancestor(self.journal.base, "HEAD"):
            worktree.put_back(self.git)
            self.git.output("merge", "--quiet", "--ff-only", self.journal.base)

    def done(self) -> set[str]:
        """The sources of the picks on the branch since the plan's base."""
        bodies = self.git.text("log", "--format=%b", f"{self.journal.base}..HEAD")
        return set(PICKED.findall(bodies))

    def recover(self) -> Attempt | None:
        """Finish or undo an interrupted pick in the work tree. Returns the open conflict, if any.

        Raises `SyncError`.
        """
        waiting = self.journal.conflict
        head = worktree.unfinished(self.git)
        if not waiting or not head or self._is_done(waiting):
            if waiting:
                self.journal.conflict = ""
                self.save()
            worktree.put_back(self.git)
            return None
        open_paths = worktree.unmerged(self.git)
        if open_paths:
            return Attempt("conflict", tuple(open_paths))
        if left := worktree.marked(self.git, head):
            raise SyncError(
                Exit.CONFLICT,
                f"Conflict markers are still in {', '.join(left[:10])}: resolve and `git add` "
                f"{'it' if len(left) == 1 else 'them'} in {self.git.cwd}.",
            )
        if left := worktree.unstaged(self.git):
            raise SyncError(
                Exit.CONFLICT,
                f"Edited but not added: {', '.join(left[:10])}. `git add` or `git restore` "
                f"{'it' if len(left) == 1 else 'them'} in {self.git.cwd}.",
            )
        if (
            self.git.succeeds("diff", "--cached", "--quiet", "HEAD")
            and self.plan.strategy == "pick"
        ):
            self.journal.emptied.append(waiting)
            self.journal.conflict = ""
            self.save()
            worktree.put_back(self.git)
            return None
        commit_resolved(self.git)
        self.journal.conflict = ""
        self.save()
        return None

    def _is_done(self, sha: str) -> bool:
        if self.plan.strategy == "pick":
            return sha in self.done()
        return self._whole_done()

    def _whole_done(self) -> bool:
        target = self.plan.target
        if self.plan.strategy == "merge":
            return self.git.is_ancestor(target, "HEAD")
        bodies = self.git.text("log", "--format=%b", f"{self.journal.base}..HEAD")
        return f"Upstream-Snapshot: {self.plan.target_name} {target}" in bodies

    def go(self, progress: Progress) -> Applied:
        stopped = self.recover()
        if stopped is not None:
            return self._result(stopped)
        stopped = self._picks(progress) if self.plan.strategy == "pick" else self._whole()
        if stopped is not None:
            return self._result(stopped)
        decided = self._decide()
        result = self._result(None, decided=decided)
        write_whole(
            self.repository.state / "last-apply",
            f"{self.journal.base} {result.tip}\n",
        )
        remove_journal(self.repository.state)
        return result

    def _picks(self, progress: Progress) -> Attempt | None:
        lines = self.plan.picks()
        while True:
            settled = self.done() | set(self.journal.emptied) | self.journal.skipped.keys()
            todo = [line for line in lines if line.commit not in settled]
            progress("picking", len(lines) - len(todo), len(lines))
            if not todo:
                return None
            batch = _clean_run(todo)
            if len(batch) > 1 and pick_many(self.git, [line.commit for line in batch]):
                continue
            settled = self.done()
            first = next(line for line in todo if line.commit not in settled)
            attempt = pick_one(self.git, first.commit)
            if attempt.kind == "empty":
                self.journal.emptied.append(first.commit)
                self.save()
            elif attempt.kind == "conflict":
                self.journal.conflict = first.commit
                self.save()
                return attempt

    def _whole(self) -> Attempt | None:
        if self._whole_done():
            return None
        take = take_merge if self.plan.strategy == "merge" else snapshot
        attempt = take(self.git, self.plan, self.journal.at)
        if attempt.kind == "conflict":
            self.journal.conflict = self.plan.target
            self.save()
            return attempt
        return None

    def _decide(self) -> int:
        """Commit a pick's decisions to the ledger, unless already done. Returns their number."""
        if self.plan.strategy != "pick":
            return 0
        entries = plan_entries(self.plan, self.journal, self._patch_ids)
        if not entries:
            return 0
        name, body = ledger_file(entries, self.journal.at)
        path = f"{self.policy.ledger}/{name}"
        if not self.git.succeeds("cat-file", "-e", f"HEAD:{path}"):
            worktree.commit_files(
                self.git,
                {path: body},
                subject=f"Record what upstream sync decided ({len(entries)} commits)",
            )
        return len(entries)

    def _patch_ids(self, shas: Sequence[str]) -> Mapping[str, str]:
        return patch_ids(self.user_git, shas, make_cache(self.repository, self.policy))

    def _result(self, stopped: Attempt | None, *, decided: int = 0) -> Applied:
        tip = self.git.text("rev-parse", "HEAD")
        return Applied(
            picked=len(self.done()),
            empty=len(self.journal.emptied),
            decided=decided,
            tip=tip,
            worktree=self.git.cwd,
            as_forecast=self._as_forecast(),
            conflict=self.journal.conflict,
            paths=tuple(map(shown, stopped.paths)) if stopped else (),
        )

    def _as_forecast(self) -> bool:
        """Whether every pick resulted in the tree that the plan forecasts."""
        expected = {line.commit: line.tree for line in self.plan.picks() if line.tree}
        listed = self.git.output("log", "-z", "--format=%T %b", f"{self.journal.base}..HEAD").split(
            b"\0"
        )
        for item in listed:
            tree, _, body = text(item).partition(" ")
            for source in PICKED.findall(body)[-1:]:
                if expected.get(source, tree) != tree:
                    return False
        return True

    def leave_out(self, reason: str) -> None:
        """Skip the conflicting commit, for `reason`. Raises `SyncError`."""
        waiting = self.journal.conflict
        if not reason.strip():
            raise SyncError(Exit.INPUT, "Give a reason after --skip: the ledger records it.")
        if not waiting or self.plan.strategy != "pick":
            raise SyncError(Exit.REFUSED, "There is no conflict to skip.")
        self.journal.skipped[waiting] = reason
        self.journal.conflict = ""
        self.save()

    def undo(self) -> None:
        """Restore the sync branch and the work trees to their state before this apply."""
        journal, branch = self.journal, self.policy.sync_branch
        place = Path(journal.worktree)
        if place.is_dir() and worktree.find_tree(self.repository, branch):
            worktree.drop_stale_locks(self.git, self.repository, branch)
            if not journal.made_worktree:
                worktree.put_back(self.git)
                self.git.output("reset", "--hard", "--quiet", journal.before or "HEAD")
        if journal.made_worktree and worktree.is_registered(self.user_git, place):
            worktree.remove_tree(self.user_git, place)
        tip = self.user_git.resolve(f"refs/heads/{branch}")
        if not journal.before and tip is not None:
            self.user_git.output("branch", "--quiet", "-D", branch)
        elif journal.before and tip != journal.before:
            self.user_git.output("update-ref", f"refs/heads/{branch}", journal.before)
        remove_journal(self.repository.state)


def _clean_run(todo: list[Line]) -> list[Line]:
    """The next picks for one git command: up to `_BATCH` that are forecast to apply."""
    out: list[Line] = []
    for line in todo[:_BATCH]:
        if not line.tree or line.conflicts:
            break
        out.append(line)
    return out
