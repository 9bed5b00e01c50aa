"""Tags of deploys and rollbacks in real checkouts with an origin."""

import subprocess
from pathlib import Path

import pytest
from ocmt_cli.deploy.release_tags import last_deployed, release_tags, tag_release, tag_rollback
from ocmt_cli.deploy.source import Source


def _git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=Ops", "-c", "user.email=ops@example.org")
    command = ["git", "-C", str(folder), *who, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone of a bare origin, with two commits."""
    for name in ("GIT_AUTHOR", "GIT_COMMITTER"):
        monkeypatch.setenv(f"{name}_NAME", "Ops")
        monkeypatch.setenv(f"{name}_EMAIL", "ops@example.org")
    subprocess.run(["git", "init", "--quiet", "--bare", tmp_path / "origin"], check=True)
    folder = tmp_path / "checkout"
    subprocess.run(["git", "clone", "--quiet", tmp_path / "origin", folder], check=True)
    for _ in range(2):
        _git(folder, "commit", "--quiet", "--allow-empty", "--message", "A change")
    return folder


def _deployed(checkout: Path, revision: str, at: str, told: list[str]) -> str:
    commit = _git(checkout, "rev-parse", revision)
    release = f"{at}-{commit[:12]}"
    tag_release(told.append, Source(checkout, commit), "mgmt", release, commit)
    return release


@pytest.mark.parametrize("why", ["", "it leaks", "a\nlong reason, with 'quotes'"])
def test_the_newest_tag_after_a_rollback_names_what_serves_and_why(
    checkout: Path, why: str
) -> None:
    told: list[str] = []
    before = _deployed(checkout, "HEAD~1", "20261123T220100Z", told)
    # A clock that is ahead: the rollback is later all the same.
    after = _deployed(checkout, "HEAD", "20991123T220200Z", told)
    assert last_deployed(release_tags(checkout)) == {"mgmt": after[-12:]}

    tag_rollback(told.append, checkout, "mgmt", before, why)

    assert last_deployed(release_tags(checkout)) == {"mgmt": before[-12:]}
    (tag,) = _git(checkout, "tag", "--list", "rollback/*").split()
    assert tag in _git(checkout, "ls-remote", "--tags", "origin")
    assert _git(checkout, "rev-parse", f"{tag}^{{commit}}") == _git(checkout, "rev-parse", "HEAD~1")
    said = _git(checkout, "for-each-ref", "--format=%(contents)", f"refs/tags/{tag}")
    assert said == (why or "A change")
    assert told == []


def test_what_cannot_be_tagged_is_told_and_fails_nothing(checkout: Path, tmp_path: Path) -> None:
    told: list[str] = []
    tag_rollback(told.append, checkout, "mgmt", f"20261123T220100Z-{'f' * 12}", "")
    assert "its commit is not in" in told[-1]
    tag_rollback(told.append, tmp_path, "mgmt", f"20261123T220100Z-{'f' * 12}", "")
    assert "no tag could be made" in told[-1]
    release = _deployed(checkout, "HEAD", "20261123T220100Z", told)
    (tmp_path / "origin").rename(tmp_path / "gone")
    tag_rollback(told.append, checkout, "mgmt", release, "")
    assert "was not pushed" in told[-1]


def test_a_reason_is_kept_also_where_git_knows_no_name(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    release = _deployed(checkout, "HEAD", "20261123T220100Z", told)
    for name in ("GIT_AUTHOR", "GIT_COMMITTER"):
        monkeypatch.delenv(f"{name}_NAME")
        monkeypatch.delenv(f"{name}_EMAIL")
    _git(checkout, "config", "user.useConfigOnly", "true")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")
    tag_rollback(told.append, checkout, "mgmt", release, "it leaks")
    assert told == []
