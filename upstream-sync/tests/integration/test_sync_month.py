"""A fork that follows upstream for a simulated month: nothing is lost, picked twice or
unexplained."""

from collections import Counter

import pytest
from ocmt_testing.sync.world import Change, Commit, Upstream, World


def history(day: int, a_day: int) -> list[Commit]:
    """A day of upstream: mostly core, some extras, docs and changelog noise."""
    author = "Ann <ann@upstream.example>"
    commits: list[Commit] = []
    for n in range(a_day):
        number = day * a_day + n
        area = ("core", "core", "extras", "docs", "core")[n % 5]
        folder = f"{area}/engine" if area == "core" and day >= 15 else area
        files: dict[str, Change] = {f"{folder}/m{n % 60}.txt": f"{number}\n" * 3}
        if n % 7 == 0:
            files["CHANGELOG.md"] = f"up to {number}\n"
        commits.append((files, f"{area}: change {number} (#{number})", "", ("main",), author))
    return commits


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("days", "a_day"), [(22, 12), pytest.param(30, 300, marks=pytest.mark.nightly)]
)
def test_a_fork_that_follows_for_weeks_loses_nothing(world: World, days: int, a_day: int) -> None:
    up = world.upstream
    # As docs/sync.md advises: picks left out would make every later changelog line a conflict.
    world.local({".gitattributes": "CHANGELOG.md merge=union\n"})
    reverted = ""
    for day in range(days):
        up.many([(f, s, b, ("refs/heads/main",), a) for f, s, b, _, a in history(day, a_day)])
        if day == 5:
            up.commit({"core/auth/login.txt": "deny all\n"}, "close the hole")
        if day == 8:
            reverted = up.commit({"core/idea.txt": "idea\n"}, "an idea")
        if day == 9:
            up.commit({"core/idea.txt": None}, "Revert it", body=f"This reverts commit {reverted}.")
        if day == 15:  # the whole folder moves
            names = [f"core/m{n}.txt" for n in range(60)]
            there = set(world_files(up))
            moves: dict[str, Change] = {n: None for n in names if n in there}
            moves |= {n.replace("core/", "core/engine/"): "moved\n" for n in names if n in there}
            up.commit(moves, "core: move everything into engine")
        if day in (3, 12, 20):
            world.git("merge", "-q", "--ff-only", "upstream-sync")
            world.local({f"ours/day{day}.txt": "ours\n", "README.md": f"ours {day}\n"})
        world.ok("fetch")
        status = world.ok("status")
        if day == 5:
            assert status["security"]["open"] == 1
        world.plan("--class", "always", "--class", "evaluate", "--no-compare")
        result = world.apply()
        assert (result["conflict"], result["asForecast"]) == (None, True)
        assert world.ok("status")["open"] == 0, "every commit of the day is decided"
        if day % 10 == 9:  # the operator merges the pull request
            world.git("merge", "-q", "--ff-only", "upstream-sync")

    everything = world.git("rev-list", "refs/remotes/upstream/main", "--not", "main~0").splitlines()
    listed = world.ok("list", "--state", "all", "--limit", "20000")["commits"]
    assert {c["commit"] for c in listed} == set(everything)
    assert set(Counter(c["state"] for c in listed)) <= {"taken", "skipped", "empty"}
    entries = world.ok("ledger")["entries"]
    assert {e["commit"] for e in entries} == set(everything), "the ledger explains every commit"
    assert max(Counter(e["commit"] for e in entries).values()) == 1, "nothing is decided twice"
    sources = [
        text.split("commit ")[1].rstrip(")")
        for text in world.git("log", "--format=%b", "upstream-sync").splitlines()
        if text.startswith("(cherry picked from commit ")
    ]
    assert len(sources) == len(set(sources)), "nothing is taken twice"
    core = world.git("diff", "--stat", "upstream/main", "upstream-sync", "--", "core", "extras")
    assert core == "", "nothing is lost"


def world_files(up: Upstream) -> list[str]:
    from subprocess import check_output

    listed = check_output(["git", "ls-tree", "-r", "--name-only", "main"], cwd=up.path, text=True)
    return listed.splitlines()
