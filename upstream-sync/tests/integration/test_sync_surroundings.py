"""An operator's machine around sync: git settings, shell, terminal, folders."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from ocmt_testing.sync.world import World

OCMT = Path(sys.executable).with_name("ocmt")


def shell(world: World, line: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run a line in the operator's shell, in which `ocmt` is the real command."""
    return subprocess.run(
        ["bash", "-c", f"ocmt() {{ {OCMT} \"$@\"; }}; {line}"], cwd=world.fork,
        env={**world.variables(), **variables}, capture_output=True, text=True, check=False,
        errors="surrogateescape",
    )  # fmt: skip


def conflicting(world: World) -> str:
    """A plan whose last commit conflicts; returns its path."""
    world.local({"core/b.txt": "ours\n"})
    world.upstream.commit({"core/a.txt": "short\n"}, "fine")
    world.upstream.commit({"core/b.txt": "theirs\n"}, "theirs")
    world.ok("fetch")
    path = world.pick_held_commits()
    return str(path)


def resolve(world: World, content: str = "both\n") -> None:
    (world.tree / "core/b.txt").write_text(content)
    world.git("-C", str(world.tree), "add", "core/b.txt")


def test_a_reader_that_has_seen_enough_ends_nothing_early(world: World) -> None:
    world.upstream.commit({"core/a.txt": "short\n"}, "one")
    world.ok("fetch")
    for command in ("status", "list --state all", "plan", "list --json"):
        done = shell(world, f"ocmt sync {command} | head -0; echo ${{PIPESTATUS[0]}}")
        assert (done.stdout, done.stderr) == ("0\n", ""), command


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_without_utf_8_gets_escapes_and_json_stays_json(
    world: World, encoding: str
) -> None:
    world.upstream.commit({"core/a.txt": "short\n"}, "snowman ☃ é")
    world.ok("fetch")
    said = shell(world, "ocmt sync list", PYTHONIOENCODING=encoding)
    assert (said.returncode, "snowman \\u2603" in said.stdout) == (0, True), said.stderr
    said = shell(world, "ocmt sync list --json", PYTHONIOENCODING=encoding)
    assert json.loads(said.stdout)["commits"][0]["subject"] == "snowman ☃ é"


def test_a_shell_that_points_git_elsewhere_is_not_followed(world: World) -> None:
    world.upstream.commit({"core/a.txt": "short\n"}, "one")
    world.ok("fetch")
    world.plan()
    world.apply()
    elsewhere = {"GIT_DIR": "/nonexistent", "GIT_WORK_TREE": "/tmp", "GIT_INDEX_FILE": "/tmp/x"}
    assert "1 ahead" in shell(world, "ocmt sync status", **elsewhere).stdout
    policy = (world.fork / "sync.toml").read_text().replace("sh ./check.sh", "git rev-parse HEAD")
    world.local({"sync.toml": policy})
    assert shell(world, "ocmt sync test", **elsewhere).returncode == 0


@pytest.mark.parametrize("name", ["a b", "new\nline", 'quo"te', "ünï", "$(touch x)"])
def test_a_fork_may_lie_in_a_folder_of_any_name(world: World, name: str) -> None:
    world.upstream.commit({"core/a.txt": "short\n"}, "one")
    place = world.root / name
    world.fork.rename(place)
    world.fork = place
    world.ok("fetch")
    world.plan()
    assert world.apply()["picked"] == 1
    assert world.ok("test")["passed"] is True


@pytest.mark.needs("root")
def test_a_repository_of_somebody_elses_is_refused_with_the_cure(world: World) -> None:
    subprocess.run(["chown", "-R", "nobody", str(world.fork)], check=True)
    ran = shell(world, "ocmt sync status")
    assert ran.returncode == 3
    assert f"git config --global --add safe.directory {world.fork}" in ran.stderr


def test_an_old_git_and_a_broken_configuration_are_told_as_such(world: World) -> None:
    programs = world.root / "old"
    programs.mkdir()
    (programs / "git").write_text("#!/bin/sh\necho git version 2.30.2\n")
    (programs / "git").chmod(0o755)
    ran = shell(world, "ocmt sync status", PATH=f"{programs}:{os.environ['PATH']}")
    assert (ran.returncode, "git 2.30.2 is too old" in ran.stderr) == (8, True)
    (world.root / "config").write_text("[core]\n\tcommentChar = too long\n")
    ran = shell(world, "ocmt sync status", GIT_CONFIG_GLOBAL=str(world.root / "config"))
    assert "is not in a git repository" not in ran.stderr
    assert "bad config variable 'core.commentchar'" in ran.stderr


def test_hooks_and_settings_of_the_operators_do_not_change_what_is_picked(world: World) -> None:
    both = world.upstream.commit({"core/lf.txt": "a\nb\n", "core/crlf.txt": "a\r\nb\r\n"}, "ends",
                                 body="# not a comment\nwords")  # fmt: skip
    plan = conflicting(world)
    hooks = world.fork / ".git/hooks"
    for hook in ("post-checkout", "pre-commit", "commit-msg", "post-commit", "post-merge"):
        (hooks / hook).write_text("#!/bin/sh\nexit 1\n")
        (hooks / hook).chmod(0o755)
    (world.root / "config").write_text(
        "[core]\n autocrlf=true\n fsmonitor=/bin/false\n commentChar=%\n[commit]\n cleanup=strip\n"
        "[rerere]\n enabled=false\n[diff]\n external=/bin/false\n noprefix=true\n[merge]\n"
        " ff=only\n conflictstyle=diff3\n[log]\n showSignature=true\n[color]\n ui=always\n"
        "[submodule]\n recurse=true\n[status]\n short=true\n showUntrackedFiles=no\n"
        "[push]\n followTags=true\n"
    )
    world.environment["GIT_CONFIG_GLOBAL"] = str(world.root / "config")
    assert world.run("apply", plan).code == 5
    resolve(world)
    assert world.ok("apply", "--continue")["picked"] == 3
    for name in ("core/lf.txt", "core/crlf.txt"):
        assert world.git("rev-parse", f"upstream-sync:{name}") == world.git(
            "rev-parse", f"{both}:{name}"
        )
    messages = world.git("log", "--format=%B", "main..upstream-sync")
    assert "# not a comment" in messages
    assert "Conflicts:" not in messages
    assert world.ok("test")["passed"] is True
    assert world.git("status", "--porcelain", "--untracked-files=all") == ""


def test_a_pick_that_cannot_be_signed_puts_everything_back(world: World) -> None:
    world.upstream.commit({"core/a.txt": "short\n"}, "one")
    world.ok("fetch")
    world.plan()
    (world.root / "config").write_text("[commit]\n gpgsign=true\n[gpg]\n program=/bin/false\n")
    world.environment["GIT_CONFIG_GLOBAL"] = str(world.root / "config")
    before = world.snapshot()
    ran = world.run("apply", str(world.root / "plan.toml"))
    assert (ran.code, "gpg failed to sign" in ran.err) == (8, True)
    after = world.snapshot()
    before.pop("objects")
    after.pop("objects")
    assert after == before


def test_an_apply_can_be_continued_and_aborted_from_inside_its_work_tree(world: World) -> None:
    plan = conflicting(world)
    before = world.snapshot()
    assert world.run("apply", plan).code == 5
    assert world.run("apply", "--abort", at=world.tree).code == 0
    assert (world.tree.exists(), world.snapshot()["refs"]) == (False, before["refs"])
    assert world.run("apply", plan).code == 5
    resolve(world)
    assert world.run("apply", "--continue", at=world.tree).code == 0


def test_a_resolution_that_is_not_finished_is_not_committed(world: World) -> None:
    plan = conflicting(world)
    assert world.run("apply", plan).code == 5
    resolve(world, "<<<<<<< HEAD\nboth\n>>>>>>> theirs\n")
    ran = world.run("apply", "--continue")
    assert (ran.code, "Conflict markers are still in core/b.txt" in ran.err) == (5, True)
    resolve(world)
    (world.tree / "core/a.txt").write_text("edited after the add\n")
    ran = world.run("apply", "--continue")
    assert (ran.code, "Edited but not added: core/a.txt" in ran.err) == (5, True)
    assert (world.tree / "core/a.txt").read_text() == "edited after the add\n"
    world.git("-C", str(world.tree), "restore", "core/a.txt")
    assert world.ok("apply", "--continue")["picked"] == 2


def test_a_text_about_conflicts_is_no_conflict(world: World) -> None:
    world.local({"core/b.txt": "ours\n"})
    text = "Markers\n=======\n<<<<<<< HEAD\none\n=======\ntwo\n>>>>>>> other\n"
    world.upstream.commit({"core/b.txt": text, "core/about.txt": text}, "about conflicts")
    world.ok("fetch")
    path = world.pick_held_commits()
    assert world.run("apply", str(path)).code == 5
    world.git("-C", str(world.tree), "checkout", "--theirs", "core/b.txt")
    world.git("-C", str(world.tree), "add", "core/b.txt")
    assert world.ok("apply", "--continue")["picked"] == 1


def test_the_sync_branch_needs_no_work_tree_to_be_gone_on_with(world: World) -> None:
    world.upstream.commit({"core/a.txt": "short\n"}, "one")
    last = world.upstream.commit({"core/b.txt": "b\n"}, "two")
    world.ok("fetch")
    world.ok("skip", last, "--reason", "not for us")  # makes the branch, and no work tree
    world.plan()
    assert world.apply()["picked"] == 1
    shutil.rmtree(world.tree)
    assert world.ok("test")["passed"] is True
    shutil.rmtree(world.tree)
    world.upstream.commit({"core/c.txt": "c\n"}, "three")
    world.ok("fetch")
    world.plan()
    assert world.apply()["picked"] == 1


def test_a_test_leaves_the_work_tree_as_it_was_and_runs_over_nobodys_edits(world: World) -> None:
    world.upstream.commit({"core/a.txt": "short\n"}, "one")
    world.ok("fetch")
    world.plan()
    world.apply()
    policy = (world.fork / "sync.toml").read_text()
    policy = policy.replace("sh ./check.sh", "echo > stray; echo y >> core/b.txt; false")
    world.local({"sync.toml": policy})
    assert world.run("test").code == 1
    assert world.git("-C", str(world.tree), "status", "--porcelain", "--branch") == (
        "## upstream-sync"
    )
    (world.tree / "core/b.txt").write_text("precious\n")
    ran = world.run("test")
    assert (ran.code, "has uncommitted changes" in ran.err) == (7, True)
    assert (world.tree / "core/b.txt").read_text() == "precious\n"


def test_a_cache_damaged_in_the_middle_is_read_anew(world: World) -> None:
    for number in range(40):
        world.upstream.commit({"core/a.txt": f"{number}\n"}, f"change {number} " + "x" * 400)
    world.ok("fetch")
    assert world.ok("list")["total"] == 40
    path = world.fork / ".git/ocmt-sync/cache.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    assert world.ok("list")["total"] == 40


def test_any_remote_that_would_push_to_upstream_is_found(world: World) -> None:
    world.ok("fetch")
    world.git("remote", "add", "other", str(world.upstream.path))
    found = [f["message"] for f in world.run("doctor", "--json").json["findings"]
             if f["code"] == "push-url"]  # fmt: skip
    assert len(found) == 1
    assert "git remote set-url --push other DISABLED" in found[0]


@pytest.mark.parametrize("clean_in_forecast", [True, False])
def test_attributes_that_a_pick_brings_hold_for_the_picks_after_it(
    world: World, clean_in_forecast: bool
) -> None:
    mode = "merge=union" if clean_in_forecast else "binary"
    # Far enough apart to merge by lines, unless the file is binary; or close enough to conflict.
    line = 1 if clean_in_forecast else 30
    lines = [f"line {n}\n" for n in range(40)]
    world.local({"core/a.txt": "".join([*lines[:1], "ours\n", *lines[2:]])})
    world.upstream.commit({"core/.gitattributes": f"a.txt {mode}\n"}, "attributes")
    theirs = [*lines[:line], "theirs\n", *lines[line + 1 :]]
    world.upstream.commit({"core/a.txt": "".join(theirs)}, "line")
    world.upstream.commit({"core/b.txt": "b\n"}, "more")
    world.ok("fetch")
    did = [c["do"] for c in world.plan()["commits"]]
    assert did == ["pick", "pick" if clean_in_forecast else "hold", "pick"]
    result = world.apply()
    assert (result["conflict"], result["asForecast"]) == (None, True)
