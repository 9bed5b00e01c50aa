"""`ocmt deploy --pull`: a server fetches what it is to run, and believes only what it can check.

With signers, the newest tag that one of them has signed; without, a branch that only goes forward.
Either way every package is checked against the lock's hashes when it is built in (`build`).
"""

import os
import sys
from pathlib import Path

from ocmt_cli.deploy.inventory import Pull
from ocmt_cli.deploy.source import git
from ocmt_cli.failure import CommandFailed


def pull(checkout: Path, settings: Pull) -> bool:
    """Bring the checkout to what is to be deployed; whether it moved. Raises `CommandFailed`."""
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
    """Go on as the command of the commit that was just checked out."""
    os.execv(str(checkout / "ocmt"), ["ocmt", "deploy", *sys.argv[2:]])


def _branch(checkout: Path, settings: Pull, here: str) -> str:
    there = git(checkout, "rev-parse", f"refs/remotes/origin/{settings.branch}").strip()
    base = git(checkout, "merge-base", here, there).strip()
    if base == there:
        return here  # an older state never comes back by itself
    if base != here:
        raise CommandFailed(
            f"origin's {settings.branch} does not follow {here[:12]}, which is checked out here: "
            "its history was rewritten. Find out why; if it is meant, check it out here by hand "
            f"(git checkout --detach {there[:12]})."
        )
    return there


def _signed(checkout: Path, settings: Pull) -> str:
    # v2.0.0-rc1 comes before v2.0.0, as in Semantic Versioning.
    words = ["-c", "versionsort.suffix=-", "tag", "--list", settings.tags]
    names = git(checkout, *words, "--sort=-version:refname").split()
    if not names:
        raise CommandFailed(f"There is no tag {settings.tags} yet. Sign one: git tag -s v1.0.0")
    name = names[0]
    verify = [
        "-c", "gpg.format=ssh", "-c", f"gpg.ssh.allowedSignersFile={settings.signers}",
        "verify-tag", name,
    ]  # fmt: skip
    try:
        git(checkout, *verify)
    except CommandFailed as failure:
        raise CommandFailed(
            f"The newest tag, {name}, is not signed by anybody in {settings.signers}; nothing was "
            f"deployed. Find out who made it, then sign it or delete it. {failure}"
        ) from failure
    # A signature is of the name inside the tag: an old tag must not pass under a newer name.
    inside = git(checkout, "for-each-ref", "--format=%(tag)", f"refs/tags/{name}").strip()
    if inside != name:
        raise CommandFailed(
            f"The tag {name} is in truth the signed tag {inside}, renamed; nothing was deployed. "
            "Find out who did that, then delete it."
        )
    return git(checkout, "rev-parse", f"refs/tags/{name}^{{commit}}").strip()
