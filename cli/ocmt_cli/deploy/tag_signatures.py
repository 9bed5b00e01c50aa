"""Verifies the SSH signatures of git tags by the current time.

`git verify-tag` checks whether a key was valid at the date in the tag, which the tagger chooses: a
tag signed with a stolen, expired key could be backdated.
"""

import subprocess
import tempfile
from pathlib import Path

from ocmt_cli.deploy.source import git
from ocmt_cli.failure import CommandFailed

_SIGNATURE = b"-----BEGIN SSH SIGNATURE-----"
_NAMESPACE = "git"


def mistrust(checkout: Path, tag: str, signers: Path) -> str | None:
    """Why a tag is not trusted; `None` if one of `signers` signed it with a key valid now."""
    try:
        kind = git(checkout, "cat-file", "-t", f"refs/tags/{tag}").strip()
        # The signature covers the name in the tag, so an old tag cannot be renamed to a newer one.
        inside = git(checkout, "for-each-ref", "--format=%(tag)", f"refs/tags/{tag}").strip()
        git(checkout, "rev-parse", "--verify", f"refs/tags/{tag}^{{commit}}")
    except CommandFailed:
        return "it names no commit"
    signed = b"" if kind != "tag" else _content(checkout, tag)
    text, found, signature = signed.partition(_SIGNATURE)
    if not found:
        return "it has no SSH signature"
    if inside != tag:
        return f"it is a renamed copy of the tag {inside}"
    return (
        None
        if _verifies(text, found + signature, signers)
        else (f"no signer in {signers} signed it with a key that is valid now")
    )


def _content(checkout: Path, tag: str) -> bytes:
    words = ["git", "-C", str(checkout), "cat-file", "tag", f"refs/tags/{tag}"]
    return subprocess.run(words, capture_output=True, check=True).stdout


def _verifies(text: bytes, signature: bytes, signers: Path) -> bool:
    with tempfile.NamedTemporaryFile() as file:
        file.write(signature)
        file.flush()
        known = ["-s", file.name, "-f", str(signers)]
        found = _ssh_keygen("find-principals", *known, stdin=b"")
        return found.returncode == 0 and any(
            _ssh_keygen("verify", *known, "-n", _NAMESPACE, "-I", who, stdin=text).returncode == 0
            for who in found.stdout.decode(errors="replace").splitlines()
        )


def _ssh_keygen(step: str, *words: str, stdin: bytes) -> subprocess.CompletedProcess[bytes]:
    command = ["ssh-keygen", "-Y", step, *words]
    return subprocess.run(command, input=stdin, capture_output=True, check=False)
