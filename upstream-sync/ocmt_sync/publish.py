"""`sync push`: pushes the sync branch to origin, without force, and writes the PR's text."""

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ocmt_sync.divergence import make_cache, read_commits
from ocmt_sync.errors import Exit, GitFailed, SyncError
from ocmt_sync.git import Repository, complaint, raw, shown, text
from ocmt_sync.history import Commit
from ocmt_sync.journal import UNFINISHED, read_journal
from ocmt_sync.policy import Policy
from ocmt_sync.security import SecuritySources

_GITHUB = re.compile(r"(?:github\.com[:/])([\w.-]+/[\w.-]+?)(?:\.git)?/?$")


def same_place(one: str, other: str) -> bool:
    """Whether two URLs are of one repository, ignoring scheme, user, case and a `.git` suffix."""

    def plain(url: str) -> str:
        url = re.sub(r"^[a-z+]+://", "", url.strip())
        url = re.sub(r"^[^@/]+@", "", url)
        url = re.sub(r"^([\w.-]+):(?!\d+/)", r"\1/", url)
        return re.sub(r"(?:\.git)?/*$", "", url).lower()

    return plain(one) == plain(other)


def urls(repository: Repository, remote: str, *, push: bool) -> list[str]:
    asked = ["remote", "get-url", "--all", *(["--push"] if push else []), remote]
    done = repository.git.result(*asked)
    return text(done.stdout).splitlines() if done.returncode == 0 else []


def check_destination(repository: Repository, policy: Policy) -> str:
    """Origin's push URL. Raises `SyncError` if it is upstream's or not exactly one."""
    to = urls(repository, policy.fork_remote, push=True)
    if not to:
        raise SyncError(
            Exit.REPOSITORY,
            f"There is no remote `{policy.fork_remote}` to push to: "
            f"git remote add {policy.fork_remote} URL-OF-YOUR-FORK",
        )
    if len(to) > 1:
        raise SyncError(
            Exit.REFUSED,
            f"`{policy.fork_remote}` has several push URLs; sync pushes to one. Remove the others.",
        )
    upstream = urls(repository, policy.upstream_remote, push=False)
    if any(same_place(to[0], url) for url in upstream):
        raise SyncError(Exit.REFUSED, f"{to[0]} is upstream: sync pushes to your fork only.")
    return to[0]


@dataclass(frozen=True, slots=True)
class Pushed:
    """The result of a push. `repo` is OWNER/NAME as given or on GitHub, else ""."""

    url: str
    branch: str
    tip: str
    repo: str
    title: str
    body: str


def push(
    repository: Repository,
    policy: Policy,
    *,
    security_sources: SecuritySources,
    repo: str | None,
    dry_run: bool,
) -> Pushed:
    """Push the sync branch by its full name, without force; with `dry_run`, only write the texts.

    Raises `SyncError`.
    """
    git, branch = repository.git, policy.sync_branch
    url = check_destination(repository, policy)
    if read_journal(repository.state) is not None:
        raise SyncError(Exit.REFUSED, UNFINISHED)
    tip = git.resolve(f"refs/heads/{branch}")
    if tip is None:
        raise SyncError(Exit.REFUSED, f"There is no branch `{branch}` yet: apply a plan first.")
    found = _GITHUB.search(url)
    title, body = pull_request(repository, policy, security_sources, tip)
    if not dry_run:
        ref = f"refs/heads/{branch}"
        done = git.result(
            "push", "--no-follow-tags", "--no-force", "--no-recurse-submodules",
            policy.fork_remote, f"{ref}:{ref}",
        )  # fmt: skip
        if done.returncode != 0:
            said = text(done.stderr)
            if "non-fast-forward" in said or "fetch first" in said:
                raise SyncError(
                    Exit.REFUSED,
                    f"{policy.fork_remote} has commits on `{branch}` that are not here. Run "
                    "`ocmt sync fetch`, rebase onto them and push again; sync never force-pushes.",
                )
            raise GitFailed(f"The push failed: {complaint(done.stderr)}", stderr=said, returncode=1)
    return Pushed(url, branch, tip, repo or (found[1] if found else ""), title, body)


def pull_request(
    repository: Repository, policy: Policy, security_sources: SecuritySources, tip: str
) -> tuple[str, str]:
    """`(title, text)` of a pull request: the branch's commits, security first, then by class."""
    git = repository.git
    against = git.resolve(f"refs/remotes/{policy.fork_remote}/{policy.fork_branch}")
    base = against or git.resolve(f"refs/heads/{policy.fork_branch}")
    shas = git.lines("rev-list", "--reverse", tip, *(["--not", base] if base else []), "--")
    cache = make_cache(repository, policy)
    ours = read_commits(repository, policy, cache, shas)
    sources = [s for c in ours.values() for s in c.picked_from[-1:] if git.resolve(s)]
    upstream = read_commits(repository, policy, cache, sources)
    groups: dict[str, list[Commit]] = {}
    for source in sources:
        commit = upstream[source]
        secure = bool(security_sources.evidence(commit))
        name = "Security" if secure else policy.class_of(commit.files)
        groups.setdefault(name, []).append(commit)
    whole = [c.subject for c in ours.values() if c.snapshot_of or c.is_merge]
    count = len(sources)
    security = len(groups.get("Security", []))
    title = f"Upstream sync: {count} commit{'s' * (count != 1)}"
    if whole:
        title = f"Upstream sync: {shown(whole[-1])}"
    elif security:
        title += f", {security} about security"
    return title, _body(groups, whole, security_sources)


_ORDER = ("Security", "careful", "unknown", "evaluate", "always", "neutral", "skip")


def _body(
    groups: Mapping[str, Sequence[Commit]], whole: Sequence[str], security_sources: SecuritySources
) -> str:
    lines = ["Commits of upstream, picked with `ocmt sync`; authors are kept.", ""]
    lines += [f"- {shown(subject)}" for subject in whole]
    for name in _ORDER:
        if name not in groups:
            continue
        lines += ["", f"## {name.capitalize()} ({len(groups[name])})", ""]
        for commit in groups[name]:
            evidence = security_sources.evidence(commit) if name == "Security" else []
            why = f" ({shown(evidence[0])})" if evidence else ""
            # Keep upstream's #123 from linking to this fork's issue 123.
            subject = re.sub(r"#(?=\d)", "#\u200b", shown(commit.subject))
            lines.append(f"- `{commit.sha[:12]}` {subject}{why}")
    return "\n".join(lines) + "\n"


def open_pull_request(pushed: Pushed, policy: Policy) -> str:
    """Open the PR with GitHub's `gh`. Returns its output, the PR's address. Raises `SyncError`."""
    if not pushed.repo:
        raise SyncError(Exit.INPUT, "Name the repository for the PR with --repo OWNER/NAME.")
    gh = shutil.which("gh")
    if gh is None:
        raise SyncError(Exit.FAILED, "`gh` is not installed; use the printed text instead.")
    done = subprocess.run(
        [gh, "pr", "create", "--repo", pushed.repo, "--base", policy.fork_branch,
         "--head", pushed.branch, "--title", pushed.title, "--body-file", "-"],
        input=raw(pushed.body), capture_output=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise SyncError(Exit.FAILED, f"`gh` failed: {shown(text(done.stderr).strip()[-600:])}")
    return text(done.stdout).strip()
