"""apply(plan) gives exactly the forecast's trees, whatever the history."""

from collections.abc import Callable

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ocmt_testing.sync.world import Change, World

NAMES = ("core/a.txt", "core/b.txt", "core/new.txt", "extras/x.txt", "core/moved/a.txt", "bin.dat")
line = st.sampled_from(["alpha", "beta", "gamma", "delta"])
content = st.one_of(
    st.none(),
    st.lists(line, min_size=1, max_size=8).map(lambda ls: "".join(f"{x}\n" for x in ls)),
    st.binary(min_size=1, max_size=12).map(lambda b: b"\0" + b),
    st.tuples(st.just("100755"), st.just(b"#!/bin/sh\n")),
)
change = st.dictionaries(st.sampled_from(NAMES), content, min_size=1, max_size=3)


@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    upstream=st.lists(change, min_size=1, max_size=7),
    ours=st.lists(st.dictionaries(st.sampled_from(NAMES[:3]), line, min_size=1), max_size=2),
)
def test_applying_a_plan_gives_the_forecasts_trees(
    new_world: Callable[[], World],
    upstream: list[dict[str, Change]],
    ours: list[dict[str, str]],
) -> None:
    world = new_world()
    for own in ours:
        world.local({name: f"{text}\n" for name, text in own.items()} | {"n": str(id(own))})
    for number, files in enumerate(upstream):
        world.upstream.commit(files, f"change {number}")
    world.ok("fetch")
    plan = world.plan("--class", "always", "--class", "evaluate", "--class", "careful")
    before = world.snapshot()
    result = world.apply()
    picks = [c for c in plan["commits"] if c["do"] == "pick"]
    assert (result["conflict"], result["asForecast"], result["picked"]) == (None, True, len(picks))
    log = world.git("log", "--reverse", "--format=%T", f"{plan['base']}..upstream-sync")
    assert log.splitlines()[: len(picks)] == [c["tree"] for c in picks]
    after = world.snapshot()
    for part in ("head", "status", "index", "stash", "config", "files"):
        assert after[part] == before[part]
