"""`sync test`: runs the policy's commands on the sync branch, and bisects a failure."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ocmt_sync import worktree
from ocmt_sync.errors import Exit, SyncError
from ocmt_sync.git import Git, Repository, inherited
from ocmt_sync.journal import UNFINISHED, read_journal
from ocmt_sync.policy import Policy

Progress = Callable[[str, int, int], None]
_OUTPUT_KEPT_BYTES = 4000


@dataclass(frozen=True, slots=True)
class Failure:
    """A command that failed, and the end of its output."""

    command: str
    returncode: int
    output: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of the policy's commands.

    `broke` is the first commit on which they fail; "" if they pass, if no bisection was asked for,
    or if they already fail on the base (`base_fails`). `tried` is the number of commits on which
    they ran.
    """

    passed: bool
    tip: str
    duration_s: float
    failure: Failure | None = None
    broke: str = ""
    base_fails: bool = False
    tried: int = 0


def run_commands(commands: Sequence[str], folder: Path) -> Failure | None:
    """Run the policy's commands in a shell until one fails. Returns that failure, or `None`."""
    for command in commands:
        with subprocess.Popen(  # noqa: S602 (the operator's own lines, from their policy)
            command,
            shell=True,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=inherited(),
            start_new_session=True,
        ) as child:
            try:
                output = child.stdout.read() if child.stdout else b""
            except KeyboardInterrupt:
                os.killpg(child.pid, signal.SIGTERM)
                raise
        if child.returncode != 0:
            end = output[-_OUTPUT_KEPT_BYTES:].decode("utf-8", "replace")
            return Failure(command, child.returncode, end)
    return None


def check_branch(
    repository: Repository,
    policy: Policy,
    *,
    bisect: bool,
    progress: Progress,
) -> Verdict:
    """Test the sync branch's tip; with `bisect`, find the commit that broke it since the last base.

    Raises `SyncError` if it cannot be tested.
    """
    branch = policy.sync_branch
    if not policy.test_commands:
        raise SyncError(Exit.INPUT, "The policy sets no test.commands. Add them to sync.toml.")
    if read_journal(repository.state) is not None:
        raise SyncError(Exit.REFUSED, UNFINISHED)
    folder = worktree.find_tree(repository, branch)
    if folder is None:
        if repository.git.resolve(f"refs/heads/{branch}") is None:
            raise SyncError(Exit.REFUSED, f"There is no branch `{branch}`: apply a plan first.")
        folder = worktree.default_place(repository, branch)
        worktree.make_tree(worktree.sync_git(repository.common_dir), folder, branch, branch)
    git = worktree.sync_git(folder)
    worktree.drop_stale_locks(git, repository, branch)
    worktree.refuse_dirty(git, policy.ledger)
    git.output("checkout", "--quiet", branch)  # a killed bisection leaves HEAD detached
    tip = git.text("rev-parse", "HEAD")
    started = time.monotonic()
    progress("testing", 0, 0)
    try:
        failure = run_commands(policy.test_commands, folder)
        if failure is None or not bisect:
            return Verdict(failure is None, tip, time.monotonic() - started, failure, tried=1)
        broke, base_fails, tried = _search(git, _range(repository, policy, git), policy, progress)
    finally:
        # Files changed by the commands would block the next apply.
        worktree.put_back(git)
        git.output("checkout", "--quiet", branch)
    return Verdict(False, tip, time.monotonic() - started, failure, broke, base_fails, tried + 1)


def _range(repository: Repository, policy: Policy, git: Git) -> list[str]:
    """The commits from the last apply's base (or the merge base), inclusive, to the tip.

    Oldest first; first parents only.
    """
    try:
        base = (repository.state / "last-apply").read_text(encoding="utf-8").split()[0]
    except (FileNotFoundError, IndexError):
        base = ""
    if not base or not git.is_ancestor(base, "HEAD"):
        base = git.text("merge-base", policy.fork_branch, "HEAD")
    return [base, *git.lines("rev-list", "--reverse", "--first-parent", f"{base}..HEAD")]


def _search(
    git: Git, commits: Sequence[str], policy: Policy, progress: Progress
) -> tuple[str, bool, int]:
    def fails(sha: str) -> bool:
        worktree.put_back(git)
        git.output("checkout", "--quiet", "--detach", sha)
        return run_commands(policy.test_commands, git.cwd) is not None

    progress("testing the commit before", 0, 0)
    if fails(commits[0]):
        return "", True, 1
    good, bad, tried = 0, len(commits) - 1, 1
    while bad - good > 1:
        middle = (good + bad) // 2
        progress(f"bisecting, {bad - good - 1} commits left", tried, 0)
        tried += 1
        if fails(commits[middle]):
            bad = middle
        else:
            good = middle
    return commits[bad], False, tried
