"""A repeated `status` comes from the cache, and is never out of date."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from ocmt_testing.sync.world import World


def run(world: World, *words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "ocmt_cli.main", "sync", "--repo", str(world.fork), *words],
        env=world.variables() | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_repeated_status_is_the_same_and_reads_no_history(world: World, tmp_path: Path) -> None:
    world.upstream.commit({"core/b.txt": "1\n"}, "tidy")
    world.ok("fetch")
    first = run(world, "status", "--json", GIT_TRACE=str(tmp_path / "first"))
    again = run(world, "status", "--json", GIT_TRACE=str(tmp_path / "again"))
    assert "rev-list" in (tmp_path / "first").read_text()
    assert "rev-list" not in (tmp_path / "again").read_text()
    assert (again.stdout, again.returncode) == (first.stdout, 0)
    assert run(world, "status").stdout == world.run("status").out


def test_a_new_commit_a_decision_and_a_mistake_are_seen_at_once(world: World) -> None:
    one = world.upstream.commit({"core/b.txt": "1\n"}, "tidy")
    world.ok("fetch")
    world.ok("status")
    world.ok("skip", one, "--reason", "not ours")
    assert "0 undecided" in run(world, "status").stdout
    world.upstream.commit({"core/b.txt": "2\n"}, "tidier")
    world.ok("fetch")
    assert "1 undecided" in run(world, "status").stdout
    (world.fork / "sync.toml").write_text("version = 2\n")
    said = run(world, "status")
    assert (said.returncode, "version = 1" in said.stderr) == (4, True)


def test_the_other_commands_and_wrong_usage_start_the_same_way(world: World) -> None:
    listed = run(world, "list", "--class", "nonsense")
    assert (listed.returncode, "nonsense" in listed.stderr) == (4, True)
    assert "defer" in run(world, "--help").stdout
    assert run(world, "nothing").returncode == 2


def on_a_terminal(world: World, *words: str, **environment: str) -> str:
    """What the command prints to a terminal."""
    leader, follower = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "ocmt_cli.main", "sync", "--repo", str(world.fork), *words],
        env=world.variables() | environment, stdout=follower, stderr=follower,
    ):  # fmt: skip
        os.close(follower)
        said = b""
        while True:
            try:
                part = os.read(leader, 4096)
            except OSError:  # Linux: the other end is closed
                break
            if not part:
                break
            said += part
    os.close(leader)
    return said.decode()


@pytest.mark.parametrize("words", [("status",), ("plan", "-o", "plan.toml"), ("list",)])
def test_colour_and_progress_are_for_terminals_only(
    world: World, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NO_COLOR", raising=False)
    world.upstream.commit({"core/auth/login.txt": "deny all\n"}, "fix login")
    world.ok("fetch")
    piped = run(world, *words)
    assert ("\x1b" in piped.stdout, piped.stderr) == (False, "")
    (world.fork / ".git/ocmt-sync/status.json").unlink(missing_ok=True)
    said = on_a_terminal(world, *words)
    assert "reading upstream's commits…" in said
    assert ("\x1b[31m" in said or "\x1b[32m" in said) is (words[0] != "plan")
    assert "\x1b[3" not in on_a_terminal(world, *words, NO_COLOR="1")
