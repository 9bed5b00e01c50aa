"""Applies a plan to the sync branch.

The plan is checked before anything changes. If git or the machine fails, such as with a full disk,
the branch and the work trees are restored.
"""

from ocmt_sync import worktree
from ocmt_sync.errors import Exit, GitFailed, SyncError
from ocmt_sync.git import Repository
from ocmt_sync.journal import Journal, read_journal
from ocmt_sync.planfile import Plan
from ocmt_sync.policy import Policy
from ocmt_sync.run import Applied, Progress, Run


def start_run(
    repository: Repository,
    policy: Policy,
    plan: Plan,
    plan_text: str,
    *,
    lock: int,
    at: str,
    by: str,
) -> Run:
    """Check the plan against the repository, and begin an apply by writing its journal.

    Raises `SyncError`.
    """
    branch = policy.sync_branch
    git = repository.git
    before = git.resolve(f"refs/heads/{branch}") or ""
    if before and not git.is_ancestor(before, plan.base):
        raise SyncError(
            Exit.REFUSED, f"`{branch}` has moved since the plan was made; make a new plan."
        )
    for sha in [*(line.commit for line in plan.lines), *([plan.target] if plan.target else [])]:
        if git.resolve(sha) is None:
            raise SyncError(
                Exit.INPUT,
                f"The plan names {sha[:12]}, which is not in this repository. Run `ocmt sync "
                "fetch`, or make a new plan.",
            )
    found = worktree.find_tree(repository, branch)
    if found is not None:
        worktree.refuse_dirty(worktree.sync_git(found), policy.ledger)
    place = found or worktree.default_place(repository, branch)
    if found is None:
        worktree.refuse_occupied(place)
    journal = Journal(
        plan=plan_text, base=plan.base, before=before, worktree=str(place),
        made_worktree=found is None, at=at, by=by,
    )  # fmt: skip
    run = Run(repository, policy, journal, lock=lock)
    run.save()
    return run


def resumed_run(repository: Repository, policy: Policy, *, lock: int) -> Run | None:
    journal = read_journal(repository.state)
    return None if journal is None else Run(repository, policy, journal, lock=lock)


def carry_out(run: Run, progress: Progress) -> Applied:
    """Run to the end or a conflict. If git or the machine fails, undo the apply.

    Raises `SyncError`.
    """
    try:
        run.prepare()
        return run.go(progress)
    except (GitFailed, OSError) as failure:
        reason = failure.strerror if isinstance(failure, OSError) else str(failure)
        try:
            run.undo()
        except (GitFailed, OSError) as second:
            raise SyncError(
                Exit.FAILED,
                f"{reason}\nThe sync branch could not be restored ({second}). Solve that, then run "
                "`ocmt sync apply --abort`.",
            ) from failure
        raise SyncError(Exit.FAILED, f"{reason}\nEverything is as it was before.") from failure
