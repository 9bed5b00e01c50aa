"""Tags of deploys and rollbacks in real checkouts with an origin."""

import subprocess
from datetime import UTC, datetime, timedelta
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
    ahead = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y%m%dT%H%M%SZ")
    after = _deployed(checkout, "HEAD", ahead, told)
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


@pytest.mark.parametrize("at", ["20991123T220200Z", "99991231T235959Z", "20990231T000000Z"])
def test_a_tag_from_the_future_does_not_count(checkout: Path, at: str) -> None:
    before = _deployed(checkout, "HEAD~1", "20261123T220100Z", [])
    _git(checkout, "tag", f"deploy/mgmt/{at}-{'a' * 12}")
    assert last_deployed(release_tags(checkout)) == {"mgmt": before[-12:]}
    told: list[str] = []
    tag_rollback(told.append, checkout, "mgmt", before, "")
    (tag,) = _git(checkout, "tag", "--list", "rollback/*").split()
    assert tag < "rollback/mgmt/2090"
    assert told == []


def test_a_tag_that_exists_with_another_commit_is_told_here_and_at_origin(checkout: Path) -> None:
    commit, other = (_git(checkout, "rev-parse", one) for one in ("HEAD", "HEAD~1"))
    release = f"20261123T220100Z-{commit[:12]}"
    _git(checkout, "push", "origin", f"{other}:refs/tags/deploy/mgmt/{release}")
    told: list[str] = []
    _deployed(checkout, "HEAD", "20261123T220100Z", told)
    (line,) = told
    assert "was not pushed" in line
    assert f"git push origin :refs/tags/deploy/mgmt/{release}, then deploy again" in line

    _git(checkout, "tag", "--force", f"deploy/mgmt/{release}", other)
    told.clear()
    _deployed(checkout, "HEAD", "20261123T220100Z", told)
    assert told[0].startswith(f"the tag deploy/mgmt/{release} names another commit ({other}) here")

    _git(checkout, "tag", "--delete", f"deploy/mgmt/{release}")
    _git(checkout, "push", "origin", f":refs/tags/deploy/mgmt/{release}")
    for _ in range(2):  # a tag that is there with this commit is no trouble
        told.clear()
        _deployed(checkout, "HEAD", "20261123T220100Z", told)
        assert told == []
