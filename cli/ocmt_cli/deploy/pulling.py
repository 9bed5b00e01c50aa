"""`ocmt deploy --pull`: a server fetches and verifies the commit to deploy.

With signers, that is the newest tag, which one of them must have signed; without, the head of a
branch that only goes forward. Packages are always checked against the lock's hashes (`build`).
"""

import os
import sys
from pathlib import Path

from ocmt_cli.deploy.inventory import Pull
from ocmt_cli.deploy.source import git
from ocmt_cli.failure import CommandFailed


def pull(checkout: Path, settings: Pull) -> bool:
    """Check out the commit to deploy. Returns whether it changed. Raises `CommandFailed`."""
    if "origin" not in git(checkout, "remote").split():
        return False
    git(checkout, "fetch", "--tags", "origin")
    here = git(checkout, "rev-parse", "HEAD").strip()
    there = _signed(checkout, settings) if settings.signers else _branch(checkout, settings, here)
    if there == here:
        return False
    git(checkout, "checkout", "--quiet", "--detach", there)
    return True


def start_anew(checkout: Path) -> None:
    """Replace this process with the command of the new commit."""
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


def _signed(checkout: Path, settings: Pull) -> str:
    # v2.0.0-rc1 comes before v2.0.0, as in Semantic Versioning.
    words = ["-c", "versionsort.suffix=-", "tag", "--list", settings.tags]
    names = git(checkout, *words, "--sort=-version:refname").split()
    if not names:
        raise CommandFailed(f"There is no tag {settings.tags} yet. Make one: git tag -s v1.0.0")
    name = names[0]
    verify = [
        "-c", "gpg.format=ssh", "-c", f"gpg.ssh.allowedSignersFile={settings.signers}",
        "verify-tag", name,
    ]  # fmt: skip
    try:
        git(checkout, *verify)
    except CommandFailed as failure:
        raise CommandFailed(
            f"The newest tag, {name}, has no signature of a signer in {settings.signers}, so it "
            f"was not deployed. Find out who made it, then sign it or delete it. {failure}"
        ) from failure
    # The signature covers the name inside the tag, so an old tag cannot be renamed to a newer one.
    inside = git(checkout, "for-each-ref", "--format=%(tag)", f"refs/tags/{name}").strip()
    if inside != name:
        raise CommandFailed(
            f"The tag {name} is a renamed copy of the signed tag {inside}, so it was not deployed. "
            "Find out who made it, then delete it."
        )
    return git(checkout, "rev-parse", f"refs/tags/{name}^{{commit}}").strip()
