"""Killed at every step of `apply`, it resumes to the same result."""

import itertools
import os
import signal
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import pytest
from ocmt_sync import git as git_module
from ocmt_sync import journal as journal_module
from ocmt_testing.sync.world import World

P = ParamSpec("P")
T = TypeVar("T")

# Each step in the night; on the way of a change, the steps that a run of this one lands on.
SOME_STEPS = pytest.mark.parametrize(
    "every", [5, pytest.param(1, marks=pytest.mark.nightly)], ids=["some steps", "every step"]
)


def kill_at(step: int, *, after: bool) -> None:
    """Die without warning at the nth effect: a git command or a write of the journal."""
    count = 0

    def wrap(function: Callable[P, T]) -> Callable[P, T]:
        def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
            nonlocal count
            count += 1
            mine = count
            if mine == step and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            result = function(*args, **kwargs)
            if mine == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return wrapped

    git_module.Git.result = wrap(git_module.Git.result)  # type: ignore[method-assign]
    journal_module.write_whole = wrap(journal_module.write_whole)


def run_killed(world: World, step: int, *args: str, after: bool) -> bool:
    """Apply (or run `args`) in a child that dies at `step`; False if it finished before."""
    child = os.fork()
    if child == 0:
        try:
            kill_at(step, after=after)
            world.run(*(args or ("apply", str(world.root / "plan.toml"))))
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def trees(world: World) -> list[str]:
    return world.git("log", "--format=%T %an %s", "main..upstream-sync").splitlines()


def prepare(world: World) -> None:
    world.upstream.commit({"core/a.txt": "short\n"}, "one")
    world.upstream.commit({"core/b.txt": "two\n", "core/a.txt": "shorter\n"}, "two")
    world.upstream.commit({"docs/guide.md": "x\n"}, "docs")
    side = world.upstream.commit({"core/side.txt": "s\n"}, "side", branch="side", parents=("main",))
    world.upstream.commit({"core/side.txt": "s\n"}, "merge", parents=("refs/heads/main", side))
    world.upstream.commit({"core/c.txt": "c\n"}, "three")
    world.ok("fetch")
    world.plan()


@SOME_STEPS
@pytest.mark.timeout(1200)
def test_killed_before_or_after_any_step_an_apply_resumes_to_the_same_result(
    new_world: Callable[[], World], every: int
) -> None:
    whole = new_world()
    prepare(whole)
    whole.apply()
    expected = trees(whole)
    kills = 0
    for after in (False, True):
        for step in itertools.count(1 + after, every):
            world = new_world()
            prepare(world)
            if not run_killed(world, step, after=after):
                break
            kills += 1
            world.apply()
            assert [t.split(" ", 1)[1] for t in trees(world)] == [
                t.split(" ", 1)[1] for t in expected
            ], f"killed at step {step}"
            picked = {t.split(" ", 1)[1]: t.split(" ", 1)[0] for t in trees(world)[1:]}
            wanted = {t.split(" ", 1)[1]: t.split(" ", 1)[0] for t in expected[1:]}
            assert picked == wanted
            assert not (world.fork / ".git/ocmt-sync/apply.json").exists()
            assert world.git("-C", str(world.tree), "status", "--porcelain") == ""
            assert world.git("status", "--porcelain") == ""
    assert kills > 20 // every


@SOME_STEPS
def test_killed_while_a_conflict_is_being_committed_it_resumes(
    new_world: Callable[[], World], every: int
) -> None:
    kills = 0
    for step in itertools.count(1, every):
        world = new_world()
        world.local({"core/b.txt": "one\nOURS\nthree\n"})
        world.upstream.commit({"core/b.txt": "one\nTHEIRS\nthree\n"}, "their two")
        world.upstream.commit({"core/a.txt": "short\n"}, "shorter")
        world.ok("fetch")
        path = world.pick_held_commits()
        assert world.run("apply", str(path)).code == 5
        (world.tree / "core/b.txt").write_text("one\nBOTH\nthree\n")
        world.git("-C", str(world.tree), "add", "core/b.txt")
        killed = run_killed(world, step, after=True)
        if killed:
            kills += 1
            assert world.run("apply", "--continue").code in (0, 4), "4: it had finished already"
        assert (world.tree / "core/b.txt").read_text() == "one\nBOTH\nthree\n"
        assert world.git("show", "upstream-sync:core/a.txt") == "short"
        assert len(world.git("log", "--format=%s", "main..upstream-sync").splitlines()) == 3
        if not killed:
            break
    assert kills > 8 // every


@SOME_STEPS
def test_a_skip_that_was_killed_can_be_repeated_and_keeps_nobody_waiting(
    new_world: Callable[[], World], every: int
) -> None:
    kills = 0
    for step in itertools.count(1, every):
        world = new_world()
        world.upstream.commit({"core/a.txt": "short\n"}, "one")
        world.ok("fetch")
        world.plan()
        world.apply()
        last = world.upstream.commit({"core/b.txt": "b\n"}, "two")
        world.ok("fetch")
        killed = run_killed(world, step, "skip", last, "--reason", "no", after=True)
        kills += killed
        world.ok("skip", last, "--reason", "again")
        assert world.ok("ledger", last)["entries"][-1]["reason"] == "again"
        assert world.git("-C", str(world.tree), "status", "--porcelain") == ""
        if not killed:
            break
    assert kills > 8 // every
