"""Following an upstream, from fetch to push, on real repositories."""

from ocmt_testing.sync.world import World


def test_a_first_sync_takes_what_is_always_wanted_and_explains_the_rest(world: World) -> None:
    core = world.upstream.commit({"core/b.txt": "one\ntwo\nTHREE\n"}, "core: three (#12)")
    extra = world.upstream.commit({"extras/x.txt": "y\n"}, "extras: y")
    docs = world.upstream.commit({"docs/guide.md": "read more\n"}, "docs: more")
    assert world.ok("fetch")["new"] == 3

    plan = world.plan()
    did = {line["commit"]: line["do"] for line in plan["commits"]}
    assert did == {core: "pick", extra: "hold", docs: "skip"}

    result = world.apply()
    assert (result["picked"], result["conflict"], result["asForecast"]) == (1, None, True)
    picked = world.git("log", "-1", "--format=%an <%ae>%n%b", "upstream-sync~1")
    assert picked.startswith("Ann <ann@upstream.example>")
    assert f"(cherry picked from commit {core})" in picked
    assert (world.tree / "core/b.txt").read_text() == "one\ntwo\nTHREE\n"

    states = {c["commit"]: c["state"] for c in world.ok("list", "--state", "all")["commits"]}
    assert states == {core: "taken", extra: "open", docs: "skipped"}
    assert world.plan()["commits"][0]["commit"] == extra, "what was decided is not asked again"


def test_status_puts_security_first_and_its_second_run_agrees(world: World) -> None:
    world.upstream.commit({"core/b.txt": "1\n"}, "tidy")
    fix = world.upstream.commit({"core/auth/login.txt": "deny all\n"}, "fix login")
    world.upstream.commit({"new/file.txt": "?\n"}, "something new")
    world.ok("fetch")
    first = world.ok("status")
    assert (first["behind"], first["ahead"], first["open"]) == (3, 1, 3)
    assert [c["commit"] for c in first["security"]["commits"]] == [fix]
    assert first["security"]["commits"][0]["security"] == [
        "path: core/auth/login.txt is owned by @acme/security"
    ]
    assert first["byClass"]["unknown"] == 1
    assert world.ok("status") == first


def test_a_conflict_waits_for_the_operator_and_goes_on(world: World) -> None:
    world.local({"core/b.txt": "one\nOURS\nthree\n"})
    first = world.upstream.commit({"core/b.txt": "one\nTHEIRS\nthree\n"}, "their two")
    second = world.upstream.commit({"core/a.txt": "short\n"}, "shorter")
    world.ok("fetch")
    plan = world.plan()
    held = plan["commits"][0]
    assert (held["do"], held["conflicts"]) == ("hold", ["core/b.txt (contents)"])
    assert "conflicts with our" in held["why"]

    path = world.root / "plan.toml"
    path.write_text(path.read_text().replace('{do = "hold"', '{do = "pick"'))
    before = world.git("status", "--porcelain")
    ran = world.run("apply", str(path), "--json")
    assert ran.code == 5
    assert (ran.json["conflict"], ran.json["paths"]) == (first, ["core/b.txt"])
    assert world.run("apply", "--continue").code == 5, "still unresolved"
    (world.tree / "core/b.txt").write_text("one\nBOTH\nthree\n")
    world.git("-C", str(world.tree), "add", "core/b.txt")
    done = world.ok("apply", "--continue")
    assert done["picked"] == 2
    messages = world.git("log", "--format=%b", "main..upstream-sync")
    assert f"(cherry picked from commit {first})" in messages
    assert f"(cherry picked from commit {second})" in messages
    assert "# Conflicts" not in messages
    assert world.git("status", "--porcelain") == before


def test_a_conflicting_commit_names_what_it_needs_first(world: World) -> None:
    needed = world.upstream.commit({"extras/x.txt": "x\nnew part\n"}, "extras: part")
    wanted = world.upstream.commit(
        {"extras/x.txt": "x\nnew part, mended\n", "core/b.txt": "b\n"}, "security: mend the part"
    )
    world.ok("fetch")
    plan = world.plan("--security-only")
    line = next(c for c in plan["commits"] if c["commit"] == wanted)
    assert (line["do"], line["needs"]) == ("hold", [needed])
    shown = world.ok("show", wanted)["forecast"]
    assert (shown["clean"], shown["needs"]) == (False, [needed])


def test_planning_and_showing_leave_the_repository_exactly_as_it_was(world: World) -> None:
    world.local({"core/b.txt": "one\nOURS\nthree\n"})
    wanted = world.upstream.commit({"core/b.txt": "one\nTHEIRS\nthree\n"}, "their two")
    world.upstream.commit({"core/a.txt": "short\n"}, "shorter")
    world.ok("fetch")
    (world.fork / "README.md").write_text("being edited\n")
    (world.fork / "untracked.txt").write_text("mine\n")
    before = world.snapshot()
    world.plan()
    world.ok("show", wanted)
    world.ok("status")
    world.ok("list")
    world.run("doctor")
    assert world.snapshot() == before


def test_push_goes_to_the_sync_branch_of_origin_without_force_and_lists_security_first(
    world: World,
) -> None:
    world.upstream.commit({"core/b.txt": "b\n"}, "core: b (#7)")
    world.upstream.commit({"core/auth/login.txt": "deny all\n"}, "fix login")
    world.ok("fetch")
    world.plan()
    world.apply()
    done = world.ok("push", "--repo", "me/fork")
    assert done["repo"] == "me/fork"
    assert done["body"].index("## Security (1)") < done["body"].index("## Always (1)")
    assert "#7" not in done["body"], "upstream's numbers must not link to this fork's"
    tips = world.git("ls-remote", "origin", "refs/heads/upstream-sync").split()[0]
    assert tips == world.git("rev-parse", "upstream-sync") == done["tip"]

    world.git("-C", str(world.tree), "commit", "--amend", "-qm", "changed behind its back")
    refused = world.run("push", "--json")
    assert refused.code == 7
    assert world.git("ls-remote", "origin", "refs/heads/upstream-sync").split()[0] == tips


def test_tests_name_the_commit_that_broke_them(world: World) -> None:
    world.upstream.commit({"core/b.txt": "fine\n"}, "fine")
    bad = world.upstream.commit({"core/b.txt": "broken\n"}, "breaks it")
    world.upstream.commit({"core/a.txt": "later\n"}, "later")
    world.local({"check.sh": "! grep -q broken core/b.txt\n"})
    world.ok("fetch")
    world.plan()
    world.apply()
    ran = world.run("test", "--json")
    assert ran.code == 1
    picked = world.git("log", "-1", "--format=%b", ran.json["broke"])
    assert f"(cherry picked from commit {bad})" in picked
    assert ran.json["baseFails"] is False
    assert world.run("test", "--no-bisect", "--json").json["runs"] == 1
    assert world.git("-C", str(world.tree), "symbolic-ref", "--short", "HEAD") == "upstream-sync"


def test_decisions_survive_a_rebase_and_two_operators_merge_without_conflict(world: World) -> None:
    one = world.upstream.commit({"extras/x.txt": "1\n"}, "one")
    two = world.upstream.commit({"extras/y.txt": "2\n"}, "two")
    later = world.upstream.commit({"extras/z.txt": "3\n"}, "three")
    world.ok("fetch")
    world.ok("skip", one, "--reason", "not for us")
    mine = world.git("rev-parse", "upstream-sync")
    world.git("branch", "-f", "other", "main")
    world.git("update-ref", "refs/heads/upstream-sync", "main")
    world.ok("defer", two, "--until", "2999-01-01", "--reason", "after the release")
    world.ok("skip", one, "--reason", "decided by another")
    world.git("checkout", "-q", "--detach", "upstream-sync")
    world.git("merge", "-q", "--no-edit", mine)
    world.git("update-ref", "refs/heads/upstream-sync", "HEAD")
    world.git("checkout", "-q", "main")
    states = {c["commit"]: c["state"] for c in world.ok("list", "--state", "all")["commits"]}
    assert states == {one: "skipped", two: "deferred", later: "open"}
    assert len(world.ok("ledger", one)["entries"]) == 2

    world.local({"own.txt": "moved on\n"})
    world.git("rebase", "-q", "main", "upstream-sync")
    world.git("checkout", "-q", "main")
    again = {c["commit"]: c["state"] for c in world.ok("list", "--state", "all")["commits"]}
    assert again == states
    world.ok("reopen", one, "--reason", "wanted after all")
    assert {c["commit"] for c in world.ok("list")["commits"]} == {one, later}


def test_a_snapshot_of_a_tag_keeps_our_changes_and_the_next_starts_from_it(world: World) -> None:
    world.local({"core/own.txt": "ours\n"})
    world.upstream.commit({"core/b.txt": "v1\n"}, "v1")
    tagged = world.upstream.commit({"docs/guide.md": "v1\n"}, "release")
    git_tag = ("-C", str(world.upstream.path), "tag", "v1.0", tagged)
    world.git(*git_tag)
    world.upstream.commit({"core/b.txt": "v2\n"}, "v2")
    world.ok("fetch")
    plan = world.plan("--strategy", "snapshot", "--tag", "v1.0")
    assert (plan["conflicts"], set(plan["compared"])) == ([], {"pick", "merge", "snapshot"})
    done = world.apply()
    assert world.git("rev-parse", f"{done['tip']}^{{tree}}") == plan["tree"]
    assert world.git("show", "upstream-sync:core/b.txt") == "v1"
    assert world.git("show", "upstream-sync:core/own.txt") == "ours"
    subjects = [c["subject"] for c in world.ok("list")["commits"]]
    assert subjects == ["v2"], "what the snapshot holds is taken"
    second = world.plan("--strategy", "snapshot")
    assert second["conflicts"] == []


def test_a_merge_of_upstream_is_forecast_and_made(world: World) -> None:
    world.upstream.commit({"core/b.txt": "merged\n"}, "b")
    world.ok("fetch")
    plan = world.plan("--strategy", "merge")
    done = world.apply()
    assert world.git("rev-parse", f"{done['tip']}^{{tree}}") == plan["tree"]
    assert world.ok("status")["open"] == 0


def test_a_plan_is_about_what_the_filters_leave_and_names_needs_outside_of_them(
    world: World,
) -> None:
    needed = world.upstream.commit({"extras/x.txt": "x\nnew part\n"}, "extras: part")
    wanted = world.upstream.commit(
        {"extras/x.txt": "x\nnew part, mended\n", "core/b.txt": "b\n"}, "core: mend the part"
    )
    other = world.upstream.commit({"core/a.txt": "short\n"}, "shorter")
    world.ok("fetch")
    (line,) = world.plan("--class", "evaluate", "--path", "core/", "--grep", "MEND")["commits"]
    assert (line["commit"], line["do"], line["needs"]) == (wanted, "hold", [needed])
    assert [c["commit"] for c in world.plan("--grep", "shorter")["commits"]] == [other]
    assert world.plan("--author", "nobody")["commits"] == []
    assert world.plan("--since", "2999-01-01")["commits"] == []


def test_a_conflict_in_a_changelog_hides_neither_what_is_needed_nor_itself(world: World) -> None:
    skipped = world.upstream.commit(
        {"docs/guide.md": "more\n", "core/b.txt": "one\ntwo\nnew\n", "CHANGELOG.md": "a\n"}, "part"
    )
    wanted = world.upstream.commit(
        {"core/b.txt": "one\ntwo\nnew, mended\n", "CHANGELOG.md": "a\nb\n"}, "mend the part"
    )
    noisy = world.upstream.commit(
        {"core/a.txt": "short\n", "CHANGELOG.md": "a\nb\nc\n"}, "only the changelog conflicts"
    )
    world.ok("fetch")
    world.ok("skip", skipped, "--reason", "not for us")
    said = world.run("plan", "-o", str(world.root / "plan.toml")).out
    assert "1 conflict only in neutral files: CHANGELOG.md" in said
    lines = {line["commit"]: line for line in world.plan()["commits"]}
    assert (lines[wanted]["do"], lines[wanted]["needs"]) == ("hold", [skipped])
    assert (lines[noisy]["do"], lines[noisy]["why"]) == ("hold", "conflicts only in neutral files")
    world.local({".gitattributes": "CHANGELOG.md merge=union\n"})
    world.git("checkout", "-q", "upstream-sync")
    world.git("merge", "-q", "--no-edit", "main")
    world.git("checkout", "-q", "main")
    lines = {line["commit"]: line for line in world.plan("--commit", wanted)["commits"]}
    assert lines[noisy]["do"] == "pick"
