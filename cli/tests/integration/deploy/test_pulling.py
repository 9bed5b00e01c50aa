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


@pytest.mark.parametrize(
    ("how", "name", "told"),
    [
        ("unsigned", "v2.0.0", "it has no SSH signature"),
        ("unsigned", "vacation", "it has no SSH signature"),
        ("light", "v9", "it has no SSH signature"),
        ("stranger", "v2.0.0", "no signer in"),
        ("renamed", "v2.0.0", "a renamed copy of the tag v1.0.0"),
        ("of a file", "v2.0.0", "it names no commit"),
        ("moved", "v1.0.0", "were moved at origin"),
    ],
)
def test_a_tag_that_no_signer_made_is_told_and_stops_nothing(
    origin: Path,
    checkout: Path,
    signed: Pull,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    *,
    how: str,
    name: str,
    told: str,
) -> None:
    _tag(origin, "v1.0.0", tmp_path / "ops")
    pull(checkout, signed)
    before = _git(checkout, "rev-parse", "HEAD")
    _commit(origin)
    if how == "unsigned":
        _git(origin, "tag", "--annotate", "--message", "x", name)
    elif how == "light":
        _git(origin, "tag", name)
    elif how == "stranger":
        _tag(origin, name, tmp_path / "stranger")
    elif how == "renamed":
        _git(origin, "update-ref", f"refs/tags/{name}", _git(origin, "rev-parse", "v1.0.0"))
    elif how == "of a file":
        (origin / "file").write_text("x")
        _git(origin, "tag", name, _git(origin, "hash-object", "-w", "file"))
    else:
        _git(origin, "tag", "--force", name)

    assert not pull(checkout, signed)
    assert told in capsys.readouterr().err
    assert _git(checkout, "rev-parse", "HEAD") == before

    # The next release comes all the same.
    wanted = _commit(origin)
    _tag(origin, "v1.1.0", tmp_path / "ops")
    assert pull(checkout, signed)
    assert _git(checkout, "rev-parse", "HEAD") == wanted


@pytest.mark.parametrize(
    ("validity", "counts"),
    [
        ("", True),
        ('valid-after="20250101"', True),
        ('valid-before="20991231"', True),
        ('valid-before="20260101"', False),
        ('valid-after="20990101"', False),
    ],
)
def test_a_signature_counts_by_when_it_is_verified(
    origin: Path, checkout: Path, signed: Pull, tmp_path: Path, validity: str, *, counts: bool
) -> None:
    """A stolen key that has expired signs a tag with an older date."""
    assert signed.signers is not None
    key = (tmp_path / "ops.pub").read_text()
    signed.signers.write_text(f"ops@example.org {validity} {key}")
    before = _git(checkout, "rev-parse", "HEAD")
    tagged = _commit(origin)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIT_COMMITTER_DATE", "2025-06-01T00:00:00Z")
        _tag(origin, "v1.0.0", tmp_path / "ops")
    if counts:
        assert pull(checkout, signed)
    else:
        with pytest.raises(CommandFailed, match=r"No tag v\* counts"):
            pull(checkout, signed)
    assert _git(checkout, "rev-parse", "HEAD") == (tagged if counts else before)


def test_an_unsigned_tag_at_a_new_checkout_is_not_deployed(
    origin: Path, checkout: Path, signed: Pull
) -> None:
    _git(origin, "tag", "v1.0.0")
    with pytest.raises(CommandFailed, match=r"No tag v\* counts"):
        pull(checkout, signed)


def test_a_release_whose_signer_left_stays_and_nothing_older_comes(
    origin: Path, checkout: Path, signed: Pull, tmp_path: Path
) -> None:
    assert signed.signers is not None
    second = f"other@example.org {(tmp_path / 'stranger.pub').read_text()}"
    signed.signers.write_text(signed.signers.read_text() + second)
    _tag(origin, "v1.0.0", tmp_path / "stranger")
    _commit(origin)
    _tag(origin, "v1.1.0", tmp_path / "ops")
    pull(checkout, signed)
    deployed = _git(checkout, "rev-parse", "HEAD")
    signed.signers.write_text(second)
    assert not pull(checkout, signed)
    assert _git(checkout, "rev-parse", "HEAD") == deployed
