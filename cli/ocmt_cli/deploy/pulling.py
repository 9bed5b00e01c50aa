"""`ocmt deploy --pull`: fetches and verifies the commit that a server deploys itself.

With signers, this is the newest tag signed by one of them; without, the head of a branch that only
moves forward. Packages are always checked against the lock's hashes (`build`).
"""

import os
import sys
from pathlib import Path

from ocmt_common.console import complain

from ocmt_cli.deploy.inventory import Pull
from ocmt_cli.deploy.source import git
from ocmt_cli.deploy.tag_signatures import mistrust
from ocmt_cli.failure import CommandFailed

_VERIFIED = "ocmt.verified"
"""The checkout's git setting that stores the last verified tag and its commit."""


def pull(checkout: Path, settings: Pull) -> bool:
    """Check out the commit to deploy. Returns whether that is another one than before.

    Does nothing without an origin. Raises `CommandFailed`.
    """
    if "origin" not in git(checkout, "remote").split():
        return False
    _fetch(checkout)
    here = git(checkout, "rev-parse", "HEAD").strip()
    if settings.signers:
        there = _signed(checkout, settings.signers, settings.tags, here)
    else:
        there = _branch(checkout, settings, here)
    if there == here:
        return False
    git(checkout, "checkout", "--quiet", "--detach", there)
    return True


def _fetch(checkout: Path) -> None:
    """Fetch branches and new tags. A tag that was moved at origin stays as it was first fetched."""
    try:
        git(checkout, "fetch", "--tags", "origin")
    except CommandFailed as failure:
        lines = [line.strip() for line in str(failure).splitlines()]
        moved = [line for line in lines if "would clobber existing tag" in line]
        if not moved or any("error:" in line or "fatal:" in line for line in lines):
            raise
        complain("\n".join(["These tags were moved at origin, and are not followed:", *moved]))


def start_anew(checkout: Path) -> None:
    """Replace this process with the new commit's command."""
    os.execv(str(checkout / "ocmt"), ["ocmt", "deploy", *sys.argv[2:]])


def _branch(checkout: Path, settings: Pull, here: str) -> str:
    there = git(checkout, "rev-parse", f"refs/remotes/origin/{settings.branch}").strip()
    base = git(checkout, "merge-base", here, there).strip()
    if base == there:
        return here  # never goes back to an older commit
    if base != here:
        raise CommandFailed(
            f"origin's {settings.branch} does not contain {here[:12]}, which is checked out here: "
            "its history was rewritten. Find out why; if it is intended, check it out by hand "
            f"(git checkout --detach {there[:12]})."
        )
    return there


def _signed(checkout: Path, signers: Path, pattern: str, here: str) -> str:
    """The commit of the newest tag that a signer has signed; `here` if there is no newer one.

    Raises `CommandFailed` if no tag counts.
    """
    # v2.0.0-rc1 comes before v2.0.0, as in Semantic Versioning.
    words = ["-c", "versionsort.suffix=-", "tag", "--list", pattern]
    names = git(checkout, *words, "--sort=-version:refname").split()
    if not names:
        raise CommandFailed(f"There is no tag {pattern} yet. Make one: git tag -s v1.0.0")
    for name in names:
        reason = mistrust(checkout, name, signers)
        if reason is None:
            commit = git(checkout, "rev-parse", f"refs/tags/{name}^{{commit}}").strip()
            git(checkout, "config", _VERIFIED, f"{name} {commit}")
            return commit
        complain(
            f"The tag {name} does not count: {reason}. Find out who made it, then sign it or "
            "delete it."
        )
        if _verified(checkout) == f"{name} {here}":
            return here  # deployed when it still counted: no tag before it is newer
    raise CommandFailed(f"No tag {pattern} counts, so nothing was deployed.")


def _verified(checkout: Path) -> str:
    """The last verified tag and its commit as stored; empty if there is none."""
    return git(checkout, "config", "--default", "", "--get", _VERIFIED).strip()
