"""`sync fetch`: bring upstream (and the fork's own remote) up to date, all or nothing."""

from dataclasses import dataclass

from ocmt_cli.sync.errors import Exit, GitFailed, SyncError
from ocmt_cli.sync.git import Repository, text
from ocmt_cli.sync.journal import write_whole
from ocmt_cli.sync.policy import Policy
from ocmt_cli.sync.security import download_advisories


@dataclass(frozen=True, slots=True)
class Fetched:
    """Upstream's head before and after. `rewritten` when the old head is no longer in history."""

    before: str | None
    after: str
    new: int
    rewritten: bool
    advisories: tuple[str, ...]


def fetch(repository: Repository, policy: Policy) -> Fetched:
    """Fetch atomically: either all refs move or none does."""
    git, remote = repository.git, policy.upstream_remote
    if remote not in git.lines("remote"):
        raise SyncError(
            Exit.REPOSITORY,
            f"There is no remote `{remote}`. Add it: git remote add {remote} "
            "https://github.com/openclaw/openclaw.git",
        )
    before = git.resolve(policy.upstream_ref)
    _fetch(repository, remote)
    if policy.fork_remote in git.lines("remote"):
        _fetch(repository, policy.fork_remote)
    advisories = download_advisories(policy, state=repository.state)
    after = git.resolve(policy.upstream_ref)
    if after is None:
        raise SyncError(
            Exit.REPOSITORY, f"`{remote}` has no branch `{policy.upstream_branch}`; see the policy."
        )
    write_whole(repository.state / "fetched", f"{after}\n")
    count = git.text("rev-list", "--count", after, *(["--not", before] if before else []), "--")
    rewritten = before is not None and not git.is_ancestor(before, after)
    return Fetched(before, after, int(count), rewritten, tuple(advisories))


def _fetch(repository: Repository, remote: str) -> None:
    done = repository.git.result("fetch", "--atomic", "--no-write-fetch-head", "--quiet", remote)
    if done.returncode != 0:
        said = text(done.stderr).strip()
        raise GitFailed(
            f"Fetching `{remote}` failed: {said[-600:]}", stderr=said, returncode=done.returncode
        )
