"""Commits that the fork already has, in whatever form."""

import json

from ocmt_testing.sync.world import World


def states(world: World) -> dict[str, str]:
    listed = world.ok("list", "--state", "all", "--limit", "500")["commits"]
    return {c["commit"]: c["state"] for c in listed}


def how(world: World, sha: str) -> str:
    found: str = world.ok("show", sha)["taken"]["how"]
    return found


def test_trailers_patch_ids_and_edited_picks_all_count(world: World) -> None:
    named = world.upstream.commit({"core/a.txt": "named\n"}, "named")
    same = world.upstream.commit({"core/b.txt": "one\ntwo\nTHREE\n"}, "same")
    lines = [f"line {n}\n" for n in range(40)]
    world.upstream.commit({"extras/long.txt": "".join(lines)}, "long")
    world.ok("fetch")
    world.git("cherry-pick", "upstream/main")
    lines[4] = "mended\n"
    edited = world.upstream.commit({"extras/long.txt": "".join(lines)}, "edited")
    lines[30] = "and more of ours\n"
    fresh = world.upstream.commit({"core/new.txt": "n\n"}, "fresh")
    world.ok("fetch")
    world.git("cherry-pick", "-x", named)
    world.git("commit", "-q", "--amend", "-m", f"reworded\n\n(cherry picked from commit {named})")
    world.git("cherry-pick", same)
    world.local({"extras/long.txt": "".join(lines)}, "by hand")
    found = states(world)
    assert {sha: found[sha] for sha in (named, same, edited, fresh)} == {
        named: "taken",
        same: "taken",
        edited: "taken",
        fresh: "open",
    }
    assert (how(world, named), how(world, same), how(world, edited)) == (
        "trailer",
        "patch-id",
        "empty",
    )


def test_two_binary_changes_of_one_file_are_not_the_same_patch(world: World) -> None:
    theirs = world.upstream.commit({"core/b.txt": b"\0their bytes"}, "theirs")
    world.ok("fetch")
    (world.fork / "core/b.txt").write_bytes(b"\0our bytes")
    world.git("commit", "-qam", "ours")
    assert states(world) == {theirs: "open"}


def test_a_pick_that_was_reverted_here_is_not_offered_again_until_it_is_brought_back(
    world: World,
) -> None:
    sha = world.upstream.commit({"core/a.txt": "short\n"}, "short")
    world.ok("fetch")
    world.git("cherry-pick", "-x", sha)
    world.git("revert", "--no-edit", "HEAD")
    assert states(world) == {sha: "reverted"}
    world.git("revert", "--no-edit", "HEAD")
    assert states(world) == {sha: "taken"}


def test_a_revert_upstream_of_something_never_taken_is_skipped_and_comes_back_with_it(
    world: World,
) -> None:
    idea = world.upstream.commit({"extras/idea.txt": "i\n"}, "idea")
    undo = world.upstream.commit(
        {"extras/idea.txt": None, "core/a.txt": "s\n"},
        "Revert",
        body=f"This reverts commit {idea}.",
    )
    world.ok("fetch")
    world.ok("skip", undo, "--reason", "never had it")
    plan = world.plan("--commit", idea)
    assert {c["commit"]: c["do"] for c in plan["commits"]} == {idea: "pick", undo: "pick"}


def test_decisions_follow_a_rewrite_of_upstreams_history(world: World) -> None:
    skipped = world.upstream.commit({"extras/x.txt": "y\n"}, "no thanks")
    world.ok("fetch")
    world.ok("skip", skipped, "--reason", "not for us")
    base = world.git("rev-parse", f"{skipped}~1")
    world.git("-C", str(world.upstream.path), "update-ref", "refs/heads/main", base)
    world.upstream.commit({"core/a.txt": "first\n"}, "came before")
    again = world.upstream.commit({"extras/x.txt": "y\n"}, "no thanks")
    assert world.ok("fetch")["rewritten"] is True
    assert again != skipped
    assert states(world)[again] == "skipped"


def test_advisories_from_a_file_name_their_fixes(world: World) -> None:
    quiet = world.upstream.commit({"extras/x.txt": "y\n"}, "tidy")
    pulled = world.upstream.commit({"extras/y.txt": "y\n"}, "mend (#41)")
    url = "https://github.com/o/r"
    advisory = {"id": "GHSA-x", "references": [
        {"url": f"{url}/commit/{quiet}"}, {"url": f"{url}/pull/41"}]}  # fmt: skip
    policy = (world.fork / "sync.toml").read_text()
    world.local(
        {
            "sync.toml": policy.replace("[security]", '[security]\nadvisories = ["adv.json"]'),
            "adv.json": json.dumps(advisory),
        }
    )
    world.ok("fetch")
    secure = world.ok("list", "--security")["commits"]
    assert {c["commit"]: c["security"] for c in secure} == {
        quiet: ["advisory: GHSA-x names this commit"],
        pulled: ["advisory: GHSA-x names #41"],
    }
