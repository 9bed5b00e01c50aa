"""`sync fetch`: fetches upstream, the fork's own remote and the advisories."""

from dataclasses import dataclass
from pathlib import Path

from ocmt_sync.errors import Exit, GitFailed, SyncError
from ocmt_sync.git import Repository, complaint, text
from ocmt_sync.journal import write_whole
from ocmt_sync.policy import Policy
from ocmt_sync.security import download_advisories


@dataclass(frozen=True, slots=True)
class Fetched:
    """Upstream's head before (`None` at the first fetch) and after a fetch.

    `new` is the number of commits that came, `rewritten` whether the old head is no longer in
    upstream's history, and `advisories` are the URLs that were downloaded.
    """

    before: str | None
    after: str
    new: int
    rewritten: bool
    advisories: tuple[str, ...]


def fetch(repository: Repository, policy: Policy) -> Fetched:
    """Fetch upstream, the fork's remote if there is one, and the advisories.

    Updates all refs of a remote or none.

    Raises `SyncError`.
    """
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
    before = _unfinished_packs(repository)
    # Keep the pack, since unpacking it on a full disk would leave some of its objects behind.
    whole = ("-c", "fetch.unpackLimit=1")
    returncode = None
    try:
        done = repository.git.result(
            *whole, "fetch", "--atomic", "--no-write-fetch-head", "--no-recurse-submodules",
            "--quiet", remote,
        )  # fmt: skip
        returncode = done.returncode
    finally:
        if returncode != 0:
            # Git does not delete its unfinished pack, so a full disk would stay full.
            for path in _unfinished_packs(repository) - before:
                path.unlink(missing_ok=True)
    if returncode != 0:
        raise GitFailed(
            f"Fetching `{remote}` failed: {complaint(done.stderr)}",
            stderr=text(done.stderr), returncode=returncode,
        )  # fmt: skip


def _unfinished_packs(repository: Repository) -> set[Path]:
    return set((repository.common_dir / "objects" / "pack").glob("tmp_*"))
