"""What a server that deploys itself trusts: real git, real signatures."""

import subprocess
from pathlib import Path

import pytest
from ocmt_cli.deploy.inventory import Pull
from ocmt_cli.deploy.pulling import pull
from ocmt_cli.failure import CommandFailed
from ocmt_testing.needs import require


def _git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=Ops", "-c", "user.email=ops@example.org", "-c", "gpg.format=ssh")
    command = ["git", "-C", str(folder), *who, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _key(file: Path) -> None:
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(file)]
    subprocess.run(words, check=True)


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    folder = tmp_path / "origin"
    subprocess.run(["git", "init", "--quiet", "--initial-branch=main", folder], check=True)
    _commit(folder)
    return folder


@pytest.fixture
def checkout(tmp_path: Path, origin: Path) -> Path:
    folder = tmp_path / "checkout"
    subprocess.run(["git", "clone", "--quiet", origin, folder], check=True)
    return folder


@pytest.fixture
def signed(tmp_path: Path) -> Pull:
    require("ssh")
    _key(tmp_path / "ops")
    _key(tmp_path / "stranger")
    signers = tmp_path / "allowed_signers"
    signers.write_text(f"ops@example.org {(tmp_path / 'ops.pub').read_text()}")
    return Pull(signers=signers)


def _commit(folder: Path) -> str:
    _git(folder, "commit", "--quiet", "--allow-empty", "--message", "A change")
    return _git(folder, "rev-parse", "HEAD")


def _tag(origin: Path, name: str, key: Path) -> None:
    _git(origin, "-c", f"user.signingkey={key}", "tag", "--sign", "--message", name, name)


def test_the_branch_is_followed_forward_only(origin: Path, checkout: Path) -> None:
    assert not pull(checkout, Pull())
    newest = _commit(origin)
    assert pull(checkout, Pull())
    assert _git(checkout, "rev-parse", "HEAD") == newest

    # Older: left alone. Another history: refused.
    _git(origin, "reset", "--quiet", "--hard", "HEAD~1")
    assert not pull(checkout, Pull())
    assert _git(checkout, "rev-parse", "HEAD") == newest
    _commit(origin)
    _git(origin, "commit", "--quiet", "--amend", "--allow-empty", "--message", "Another")
    with pytest.raises(CommandFailed, match="its history was rewritten"):
        pull(checkout, Pull())
    assert _git(checkout, "rev-parse", "HEAD") == newest


def test_with_signers_the_newest_signed_tag_is_taken_and_no_commit_after_it(
    origin: Path, checkout: Path, signed: Pull, tmp_path: Path
) -> None:
    with pytest.raises(CommandFailed, match="git tag -s"):
        pull(checkout, signed)
    _tag(origin, "v1.9.0", tmp_path / "ops")
    wanted = _commit(origin)
    _tag(origin, "v1.10.0", tmp_path / "ops")
    _commit(origin)

    assert pull(checkout, signed)
    assert _git(checkout, "rev-parse", "HEAD") == wanted
    assert not pull(checkout, signed)


@pytest.mark.parametrize("before", ["v2.0.0-rc1", "v2.0.0-beta.11", "v1.99.0"])
def test_a_version_is_newer_than_its_pre_releases(
    origin: Path, checkout: Path, signed: Pull, tmp_path: Path, before: str
) -> None:
    _tag(origin, before, tmp_path / "ops")
    assert not pull(checkout, signed)
    wanted = _commit(origin)
    _tag(origin, "v2.0.0", tmp_path / "ops")

    assert pull(checkout, signed)
    assert _git(checkout, "rev-parse", "HEAD") == wanted


@pytest.mark.parametrize("how", ["unsigned", "stranger", "renamed", "moved"])
def test_a_tag_that_nobody_trusted_made_is_refused(
    origin: Path, checkout: Path, signed: Pull, tmp_path: Path, how: str
) -> None:
    _tag(origin, "v1.0.0", tmp_path / "ops")
    pull(checkout, signed)
    before = _git(checkout, "rev-parse", "HEAD")
    _commit(origin)
    if how == "unsigned":
        _git(origin, "tag", "--annotate", "--message", "x", "v2.0.0")
    elif how == "stranger":
        _tag(origin, "v2.0.0", tmp_path / "stranger")
    elif how == "renamed":
        _git(origin, "update-ref", "refs/tags/v2.0.0", _git(origin, "rev-parse", "v1.0.0"))
    else:
        _git(origin, "tag", "--force", "v1.0.0")

    with pytest.raises(CommandFailed, match=r"has no signature|renamed|clobber"):
        pull(checkout, signed)

    assert _git(checkout, "rev-parse", "HEAD") == before
