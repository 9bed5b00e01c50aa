"""Bad input: a clear error, a stable exit code, and an unchanged repository."""

import fcntl
import os
import random
import resource
import shutil
import subprocess
from pathlib import Path

import pytest
from ocmt_testing.sync.world import Ran, World

CORE = {"core/a.txt": "short\n"}


def refuse(world: World, *args: str, code: int, says: str) -> None:
    """The command is refused with this code and reason, and nothing has changed."""
    before = world.snapshot()
    ran = world.run(*args, "--json")
    assert (ran.code, ran.json["error"]["exitCode"]) == (code, code), ran.out
    assert says in ran.json["error"]["message"]
    assert world.snapshot() == before


def test_a_folder_that_is_no_repository(world: World, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    ran = world.run("status", "--json", at=plain)
    assert (ran.code, ran.json["error"]["code"]) == (3, "repository")
    assert "not in a git repository" in world.run("status", at=plain).err


def test_no_upstream_and_an_upstream_never_fetched(world: World) -> None:
    world.git("update-ref", "-d", "refs/remotes/upstream/main")
    refuse(world, "status", code=3, says="ocmt sync fetch")
    world.git("remote", "remove", "upstream")
    refuse(world, "status", code=3, says="git remote add upstream")
    refuse(world, "fetch", code=3, says="git remote add upstream")


def test_an_upstream_that_cannot_be_reached(world: World) -> None:
    world.git("remote", "set-url", "upstream", str(world.root / "gone.git"))
    refuse(world, "fetch", code=8, says="Fetching `upstream` failed")


def test_an_unknown_commit_and_one_of_our_own(world: World) -> None:
    refuse(world, "show", "no-such", code=3, says="no-such")
    refuse(world, "show", "main", code=3, says="not a commit of upstream/main")


def test_a_policy_with_a_mistake(world: World) -> None:
    (world.fork / "sync.toml").write_text("version = 2\n")
    refuse(world, "status", code=4, says="version = 1")


def test_a_plan_with_a_mistake_and_a_plan_that_is_old(world: World) -> None:
    world.upstream.commit(CORE, "one")
    world.ok("fetch")
    world.plan()
    path = world.root / "plan.toml"
    good = path.read_text()
    path.write_text(good.replace('do = "pick"', 'do = "take"'))
    refuse(world, "apply", str(path), code=4, says="'take'")
    refuse(world, "apply", str(world.root / "none.toml"), code=4, says="Cannot read the plan")
    path.write_text(good)
    world.apply()
    refuse(world, "apply", str(path), code=7, says="moved since the plan")


def test_a_dirty_tree_of_the_operators_is_no_obstacle_and_is_left_alone(world: World) -> None:
    world.upstream.commit(CORE, "one")
    world.ok("fetch")
    (world.fork / "core/a.txt").write_text("being edited\n")
    (world.fork / "new.txt").write_text("new\n")
    world.git("add", "new.txt")
    before = world.snapshot()
    world.plan()
    world.apply()
    after = world.snapshot()
    for part in ("head", "status", "index", "stash", "files"):
        assert after[part] == before[part]


def test_a_dirty_sync_tree_and_a_checked_out_sync_branch_are_refused(world: World) -> None:
    world.upstream.commit(CORE, "one")
    world.ok("fetch")
    world.plan()
    world.apply()
    world.upstream.commit({"core/b.txt": "b\n"}, "two")
    world.ok("fetch")
    world.plan()
    (world.tree / "stray.txt").write_text("mine\n")
    refuse(world, "apply", str(world.root / "plan.toml"), code=7, says="uncommitted changes")
    (world.tree / "stray.txt").unlink()
    world.git("worktree", "remove", "--force", str(world.tree))
    world.git("checkout", "-q", "upstream-sync")
    refuse(world, "apply", str(world.root / "plan.toml"), code=7, says="is checked out in")


def test_a_second_sync_at_once_is_refused(world: World) -> None:
    world.upstream.commit(CORE, "one")
    world.ok("fetch")
    world.plan()
    with (world.fork / ".git/ocmt-sync/lock").open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        refuse(world, "apply", str(world.root / "plan.toml"), code=6, says="running here")


def test_a_conflict_that_is_aborted_leaves_everything_as_it_was(world: World) -> None:
    world.local({"core/b.txt": "ours\n"})
    world.upstream.commit({"core/a.txt": "fine\n"}, "fine")
    world.upstream.commit({"core/b.txt": "theirs\n"}, "theirs")
    world.ok("fetch")
    path = world.pick_held_commits()
    before = world.snapshot()
    assert world.run("apply", str(path)).code == 5
    assert world.run("doctor", "--json").json["findings"][0]["code"] in ("unfinished", "dead-rule")
    world.ok("apply", "--abort")
    after = world.snapshot()
    before.pop("objects")
    kept = after.pop("objects")
    assert after == before
    assert not world.tree.exists()
    assert kept, "only unreachable objects remain, for git to collect"
    assert world.git("fsck", "--no-dangling") == ""


def test_a_conflicting_pick_can_be_left_out_with_a_reason(world: World) -> None:
    world.local({"core/b.txt": "ours\n"})
    bad = world.upstream.commit({"core/b.txt": "theirs\n"}, "theirs")
    world.upstream.commit({"core/a.txt": "fine\n"}, "fine")
    world.ok("fetch")
    path = world.pick_held_commits()
    assert world.run("apply", str(path)).code == 5
    assert world.ok("apply", "--skip", "ours is better")["picked"] == 1
    (entry,) = world.ok("ledger", bad)["entries"]
    assert (entry["act"], entry["reason"]) == ("skipped", "ours is better")


def test_a_resolution_is_remembered_for_the_next_time(world: World) -> None:
    world.local({"core/b.txt": "ours\n"})
    world.upstream.commit({"core/b.txt": "theirs\n"}, "theirs")
    world.ok("fetch")
    path = world.pick_held_commits()
    assert world.run("apply", str(path)).code == 5
    (world.tree / "core/b.txt").write_text("both\n")
    world.git("-C", str(world.tree), "add", "core/b.txt")
    world.ok("apply", "--continue")
    world.git("worktree", "remove", "--force", str(world.tree))
    world.git("branch", "-D", "upstream-sync")
    assert world.ok("apply", str(path))["picked"] == 1
    assert (world.tree / "core/b.txt").read_text() == "both\n"
    assert "# Conflicts" not in world.git("log", "--format=%B", "upstream-sync")


def test_a_full_disk_puts_everything_back(world: World) -> None:
    world.upstream.commit(CORE, "one")
    world.upstream.commit({"core/big.bin": b"\0" * 3_000_000}, "big")
    world.ok("fetch")
    world.plan()
    before = world.snapshot()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
    try:
        ran = world.run("apply", str(world.root / "plan.toml"), "--json")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert ran.code == 8, ran.out
    assert "Everything is as it was before" in ran.json["error"]["message"]
    after = world.snapshot()
    before.pop("objects")
    after.pop("objects")
    assert after == before
    assert world.apply()["picked"] == 2, "with room again it works"


def test_odd_commits_are_read_classed_and_picked(world: World) -> None:
    up = world.upstream
    odd = {
        "latin": up.commit({b"core/caf\xe9.txt": "x\n"}, b"caf\xe9 is not UTF-8"),
        "mode": up.commit({"core/b.txt": ("100755", b"one\ntwo\nthree\n")}, "mode only"),
        "binary": up.commit({"core/a.bin": b"\0\1\2"}, "binary"),
        "empty": up.commit({}, "empty"),
        "submodule": up.commit({"core/sub": ("160000", b"1" * 40)}, "submodule"),
        "link": up.commit({"core/link": ("120000", b"b.txt")}, "symlink"),
        "moved": up.commit(
            {"core/a.txt": None, "core/dir/a.txt": "".join(f"line {n}\n" for n in range(40))},
            "moved",
        ),
        "control": up.commit({"core/\x1b[31m.txt": "x\n"}, "clear \x1b[2J the screen"),
        "enormous": up.commit({f"core/many/{n}.txt": f"{n}\n" for n in range(3000)}, "enormous"),
    }
    side = up.commit({"core/side.txt": "s\n"}, "side", branch="side", parents=("main",))
    odd["merge"] = up.commit({"core/side.txt": "s\n"}, "merge", parents=("refs/heads/main", side))
    odd["evil"] = up.commit(
        {"core/side.txt": "s\n", "core/extra.txt": "slipped in\n"},
        "evil merge",
        parents=("refs/heads/main", side),
    )
    world.local({"core/a.txt": "ours\n" + "".join(f"line {n}\n" for n in range(40))})
    world.ok("fetch")
    plan = world.plan()
    did = {c["commit"]: c["do"] for c in plan["commits"]}
    picked = {"latin", "mode", "binary", "submodule", "link", "moved", "control", "enormous"}
    assert {name for name, sha in odd.items() if did[sha] == "pick"} == picked
    assert (did[odd["empty"]], did[odd["merge"]], did[odd["evil"]]) == ("skip", "skip", "hold")
    shown = world.run("show", odd["control"])
    assert "\x1b" not in shown.out
    result = world.apply()
    assert result["asForecast"] is True
    assert (world.tree / "core/dir/a.txt").read_text().startswith("ours\n"), "ours moved along"
    log = subprocess.check_output(["git", "log", "--format=%s", "upstream-sync"], cwd=world.fork)
    assert "café is not UTF-8".encode() in log, "git takes such a message for Latin-1"
    assert b"100755" in subprocess.check_output(
        ["git", "ls-tree", "upstream-sync", "core/b.txt"], cwd=world.fork
    )


def test_a_shallow_clone_and_a_working_push_url_are_found_by_the_doctor(world: World) -> None:
    codes = {f["code"] for f in world.run("doctor", "--json").json["findings"]}
    assert codes >= {"stale"}
    assert "push-url" not in codes
    world.ok("fetch")
    world.git("remote", "set-url", "--push", "upstream", str(world.upstream.path))
    (world.fork / ".git/shallow").write_text(world.git("rev-parse", "upstream/main") + "\n")
    ran = world.run("doctor", "--json")
    assert ran.code == 1
    assert {f["code"] for f in ran.json["findings"]} >= {"push-url", "shallow"}
    assert "stale" not in {f["code"] for f in ran.json["findings"]}


def test_push_never_goes_to_upstream(world: World) -> None:
    world.upstream.commit(CORE, "one")
    world.ok("fetch")
    world.plan()
    world.apply()
    world.git("remote", "set-url", "origin", str(world.upstream.path))
    refuse(world, "push", code=7, says="is upstream")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("list", "--class", "alwys"), "alwys"),
        (("list", "--state", "gone"), "gone"),
        (("list", "--since", "soon"), "soon"),
        (("plan", "--strategy", "rebase"), "rebase"),
        (("plan", "--tag", "v1"), "--tag"),
        (("apply",), "Name a plan"),
        (("defer", "upstream/main", "--until", "soon", "--reason", "x"), "soon"),
    ],
)
def test_wrong_options_are_named(world: World, args: tuple[str, ...], says: str) -> None:
    refuse(world, *args, code=4, says=says)


def limited(world: World, *args: str, largest_bytes: int) -> Ran:
    """Run with a limit on the size of files, which looks like a full disk to git and to us."""
    # Left to itself the limit kills with a signal, where a full disk is an error of `write`.
    programs = world.root / "programs"
    programs.mkdir(exist_ok=True)
    (programs / "git").write_text(f"#!/bin/sh\ntrap '' XFSZ\nexec {shutil.which('git')} \"$@\"\n")
    (programs / "git").chmod(0o755)
    world.environment["PATH"] = f"{programs}:{os.environ['PATH']}"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_bytes, limits[1]))
    try:
        return world.run(*args)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        del world.environment["PATH"]


def test_a_full_disk_while_fetching_or_planning_leaves_nothing_behind(world: World) -> None:
    world.upstream.commit(CORE, "one")
    world.ok("fetch")
    world.ok("status")
    world.upstream.commit({"core/big.bin": random.Random(1).randbytes(2_000_000)}, "big")
    before = world.snapshot()
    ran = limited(world, "fetch", largest_bytes=1_000_000)
    assert ran.code == 8, ran.out
    assert "Fetching `upstream` failed" in ran.err
    assert world.snapshot() == before
    world.ok("fetch")
    before = world.snapshot()
    plan = world.root / "plan.toml"
    ran = limited(world, "plan", "-o", str(plan), largest_bytes=200)
    assert ran.code == 8, ran.out
    assert world.snapshot() == before
    assert not plan.exists()
    assert len(world.plan()["commits"]) == 2


def test_a_damaged_ledger_is_named_with_its_line(world: World) -> None:
    (world.fork / ".ocmt-sync/ledger").mkdir(parents=True)
    world.local({".ocmt-sync/ledger/x.jsonl": '{"act": "applied"}\n'})
    world.upstream.commit(CORE, "one")
    world.ok("fetch")
    refuse(world, "status", code=4, says="Line 1 of the ledger file .ocmt-sync/ledger/x.jsonl")
