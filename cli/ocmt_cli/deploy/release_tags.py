"""The names of releases, and the git tags that record which commit was deployed when.

`deploy/COMPONENT/RELEASE` is a deploy. `rollback/COMPONENT/TIME-COMMIT` is a rollback to COMMIT,
with its reason as the message. The newest of both names the commit that serves.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ocmt_cli.deploy.deployer import Report
from ocmt_cli.deploy.inventory import Role
from ocmt_cli.deploy.plan import Step
from ocmt_cli.deploy.rollback_plan import Facts
from ocmt_cli.deploy.source import Source, git
from ocmt_cli.failure import CommandFailed

_STAMP = re.compile(r"\d{8}T\d{6}Z(?=-)")
_STAMP_FORMAT = "%Y%m%dT%H%M%SZ"
_MOST_AHEAD = timedelta(days=1)
_TAG = re.compile(r"(?:deploy|rollback)/(mgmt|agent|ui)/(\d{8}T\d{6}Z)-([0-9a-f]{12})")


def new_release(commit: str, *, now: datetime, taken: Iterable[str]) -> str:
    """A new release name, which sorts after the names `taken`, since names sort by time."""
    stamps = [found[0] for name in taken if (found := _STAMP.match(name))]
    if stamps:
        newest = datetime.strptime(max(stamps), _STAMP_FORMAT).replace(tzinfo=UTC)
        now = max(now, newest + timedelta(seconds=1))
    return f"{now.strftime(_STAMP_FORMAT)}-{commit[:12]}"


def release_for(
    commit: str, hosts: Iterable[Mapping[str, Any]], *, now: datetime, taken: Sequence[str]
) -> str:
    """The name of the release in a deploy of `commit` to hosts with these facts.

    The newest name is reused to resume a deploy or to continue it with other components, so that
    one rollback undoes all of it.
    """
    newest = max((name for name in taken if _STAMP.match(name)), default="")
    goes_on = newest.endswith(f"-{commit[:12]}")
    if goes_on and not any(was_there(newest, known) for known in hosts):
        return newest
    return new_release(commit, now=now, taken=taken)


def was_there(release: str, known: Mapping[str, Any]) -> bool:
    """Whether a release has served on a host with these facts."""
    return release in (known["current"], *known["healthy"], *known["regretted"])


def release_tags(checkout: Path) -> list[str]:
    """All tags of deploys and rollbacks, except for those dated in the future.

    Raises `CommandFailed` if git fails.
    """
    tags = git(checkout, "tag", "--list", "deploy/*", "rollback/*").split()
    now = datetime.now(UTC)
    return [tag for tag in tags if not is_in_future(tag.rpartition("/")[2], now)]


def is_in_future(name: str, now: datetime) -> bool:
    """Whether a release's name is dated more than a day after `now`.

    Such a name was not made by a deploy, or with a clock that was wrong. If it counted, all later
    names would have to be later still.
    """
    found = _STAMP.match(name)
    if not found:
        return False
    try:
        at = datetime.strptime(found[0], _STAMP_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        return True
    return at > now + _MOST_AHEAD


def names_in(tags: Iterable[str]) -> list[str]:
    """The last part of each tag, `TIME-COMMIT`."""
    return [tag.rpartition("/")[2] for tag in tags]


def last_deployed(tags: Iterable[str]) -> dict[str, str]:
    """Component → the first 12 digits of the commit of its newest tag."""
    newest: dict[str, tuple[str, str]] = {}
    for tag in tags:
        if found := _TAG.fullmatch(tag):
            role, at, commit = found.groups()
            newest[role] = max(newest.get(role, ("", "")), (at, commit))
    return {role: commit for role, (_, commit) in newest.items()}


def tag_what_runs(report: Report, source: Source, steps: Sequence[Step]) -> None:
    """Create missing tags of running releases, after a deploy that was killed at its end."""
    tags = release_tags(source.checkout)
    for role, release in dict.fromkeys((step.role, str(step.current)) for step in steps):
        if f"deploy/{role}/{release}" not in tags:
            # Another checkout may have deployed a commit that this one lacks.
            commit = _commit(source.checkout, release)
            if commit is not None:
                tag_release(report, source, role, release, commit)


def tag_rollbacks(report: Report, source: Source, steps: Sequence[Step], facts: Facts) -> None:
    """Create the missing tag of a rollback that was killed at its end."""
    newest = last_deployed(release_tags(source.checkout))
    for role in dict.fromkeys(step.role for step in steps if step.action == "unchanged"):
        (current, *others) = {str(step.current) for step in steps if step.role == role}
        done = next(known["rolled_back"] for (named, _), known in facts.items() if named == role)
        if not others and done and done["to"] == current and newest.get(role) != current[-12:]:
            tag_rollback(report, source.checkout, role, current, done["why"])


def tag_release(report: Report, source: Source, role: Role, release: str, commit: str) -> None:
    """Tag the deployed commit, and push the tag if there is an origin. Failures are reported."""
    _tag(report, source.checkout, f"deploy/{role}/{release}", commit, "")


def tag_rollback(report: Report, checkout: Path, role: Role, release: str, why: str) -> None:
    """Tag the commit of the release that serves again, with the reason, and push the tag.

    Failures are only reported.
    """
    try:
        tags = release_tags(checkout)
    except CommandFailed as failure:
        report(f"{release} serves, but no tag could be made for the rollback: {failure}")
        return
    commit = _commit(checkout, release)
    if commit is None:
        report(
            f"{release} serves, but its commit is not in {checkout}, so no tag was made for the "
            "rollback. Fetch it, then deploy to make the tag."
        )
        return
    name = new_release(commit, now=datetime.now(UTC), taken=[release, *names_in(tags)])
    _tag(report, checkout, f"rollback/{role}/{name}", commit, why)


def _commit(checkout: Path, release: str) -> str | None:
    """The commit of a release; `None` if it is not in this checkout."""
    return _commit_of(checkout, release[-12:])


def _commit_of(checkout: Path, revision: str) -> str | None:
    """The commit that git's `revision` names; `None` if there is none."""
    try:
        found = git(checkout, "rev-parse", "--verify", f"{revision}^{{commit}}")
    except CommandFailed:
        return None
    return found.strip()


def _tag(report: Report, checkout: Path, tag: str, commit: str, message: str) -> None:
    words = ["tag", tag, commit]
    if message:
        words = [*_tagger(checkout), "tag", "--annotate", "--message", message, tag, commit]
    there = _commit_of(checkout, f"refs/tags/{tag}")
    if there not in (None, commit):
        report(
            f"the tag {tag} names another commit ({there}) here, so it was not made. If that is "
            f"wrong: git tag -d {tag}, then deploy again"
        )
        return
    try:
        if there is None:
            git(checkout, *words)
    except CommandFailed as failure:
        report(f"the tag {tag} could not be made: {failure}")
        return
    if "origin" in git(checkout, "remote").split():
        try:
            git(checkout, "push", "--quiet", "origin", f"refs/tags/{tag}")
        except CommandFailed as failure:
            elsewhere = "already exists" in str(failure)
            cure = f". If origin's is wrong: git push origin :refs/tags/{tag}, then deploy again"
            report(f"the tag {tag} was not pushed: {failure}{cure if elsewhere else ''}")


def _tagger(checkout: Path) -> list[str]:
    """git's options for annotated tags if the user has no name and address in git."""
    try:
        git(checkout, "var", "GIT_COMMITTER_IDENT")
    except CommandFailed:
        return ["-c", "user.name=ocmt", "-c", "user.email=ocmt@localhost"]
    return []
