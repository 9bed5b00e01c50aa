"""The services that sync uses besides git: an advisory server, and GitHub's `gh`."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from ocmt_testing.sync.world import World


@dataclass
class Advisories:
    """The advisory server's answers."""

    url: str = ""
    body: bytes = b"[]"
    status: int = 200
    leads_to: str = ""


@contextmanager
def serving(address: str) -> Iterator[Advisories]:
    """Answers every request with `body` and `status`."""
    says = Advisories()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(says.status)
            if says.leads_to:
                self.send_header("location", says.leads_to)
            self.send_header("content-length", str(len(says.body)))
            self.end_headers()
            self.wfile.write(says.body)

        def log_message(self, *_: object) -> None: ...

    http = ThreadingHTTPServer((address, 0), Handler)
    says.url = f"http://{address}:{http.server_port}/osv.json"
    thread = Thread(target=http.serve_forever)
    thread.start()
    yield says
    http.shutdown()
    thread.join()
    http.server_close()


@pytest.fixture
def server() -> Iterator[Advisories]:
    with serving("127.0.0.1") as says:
        yield says


def watch(world: World, url: str) -> None:
    policy = (world.fork / "sync.toml").read_text()
    policy = policy.replace("[security]", f'[security]\nadvisories = ["{url}"]')
    world.local({"sync.toml": policy})


def test_advisories_come_from_a_url_and_a_bad_answer_keeps_the_last_good_ones(
    world: World, server: Advisories
) -> None:
    fix = world.upstream.commit({"extras/x.txt": "mended\n"}, "tidy")
    server.body = json.dumps(
        {"vulns": [{"id": "GHSA-aaaa", "references": [{"url": f"https://x/commit/{fix}"}]}]}
    ).encode()
    watch(world, server.url)
    refused = world.run("status")
    assert (refused.code, "run `ocmt sync fetch`" in refused.err) == (4, True)
    assert world.ok("fetch")["advisories"] == [server.url]
    evidence = world.ok("list", "--security")["commits"][0]["security"]
    assert evidence == ["advisory: GHSA-aaaa names this commit"]

    server.body = b"<html>not found</html>"
    said = world.run("fetch")
    assert (said.code, "is not OSV or GHSA JSON" in said.err) == (4, True)
    server.status = 500
    said = world.run("fetch")
    assert (said.code, "Cannot read the advisories" in said.err) == (8, True)
    assert world.ok("status")["security"]["open"] == 1


def test_advisories_are_not_read_over_plain_http_from_elsewhere(world: World) -> None:
    watch(world, "http://advisories.example/osv.json")
    said = world.run("fetch")
    assert (said.code, "Advisories must come over https" in said.err) == (4, True)


def test_a_redirect_may_not_lead_away_from_https(world: World, server: Advisories) -> None:
    with serving("127.0.0.2") as other:  # loopback too, and not one of the names let through
        server.status, server.leads_to = 302, other.url
        watch(world, server.url)
        said = world.run("fetch")
        assert (said.code, "Advisories must come over https" in said.err) == (4, True)
    assert not list((world.fork / ".git/ocmt-sync").glob("advisories/*"))


@pytest.fixture
def picked(world: World) -> World:
    world.upstream.commit({"core/auth/login.txt": "deny all\n"}, "fix login (#3)")
    world.ok("fetch")
    world.plan()
    world.apply()
    return world


def stand_in_for_gh(world: World, script: str) -> Path:
    programs = world.root / "programs"
    programs.mkdir()
    for name in ("git", "sh", "cat"):
        found = shutil.which(name)
        assert found is not None
        (programs / name).symlink_to(found)
    if script:
        (programs / "gh").write_text(f"#!/bin/sh\n{script}\n")
        (programs / "gh").chmod(0o755)
    world.environment["PATH"] = str(programs)
    return world.root


def test_the_pull_request_is_opened_in_the_repository_that_is_named(picked: World) -> None:
    root = stand_in_for_gh(
        picked, f'echo "$@" > {picked.root}/args; cat > {picked.root}/body; echo https://x/pull/1'
    )
    done = picked.ok("push", "--pr", "--repo", "me/fork")
    assert done["pullRequest"] == "https://x/pull/1"
    assert (root / "args").read_text() == (
        "pr create --repo me/fork --base main --head upstream-sync"
        " --title Upstream sync: 1 commit, 1 about security --body-file -\n"
    )
    assert "## Security (1)" in (root / "body").read_text()


def test_without_a_named_repository_or_gh_the_reason_is_told(picked: World) -> None:
    said = picked.run("push", "--pr")
    assert (said.code, "--repo OWNER/NAME" in said.err) == (4, True)
    stand_in_for_gh(picked, "")
    said = picked.run("push", "--pr", "--repo", "me/fork")
    assert (said.code, "`gh` is not installed" in said.err) == (8, True)


def test_what_gh_complains_about_is_passed_on(picked: World) -> None:
    stand_in_for_gh(picked, "echo a pull request already exists >&2; exit 1")
    said = picked.run("push", "--pr", "--repo", "me/fork")
    assert (said.code, "already exists" in said.err) == (8, True)
