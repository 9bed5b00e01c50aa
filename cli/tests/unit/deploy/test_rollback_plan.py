"""What a rollback goes back to, and what it leaves alone."""

from typing import Any

import pytest
from ocmt_cli.deploy.inventory import Role
from ocmt_cli.deploy.rollback_plan import Facts, Move, Stay, choose, unfinished
from ocmt_cli.failure import CommandFailed


def on(current: str | None, *healthy: str, **more: Any) -> dict[str, Any]:
    """The facts of a host."""
    known: dict[str, Any] = {
        "current": current,
        "healthy": list(healthy),
        "settled": True,
        "regretted": {},
    }
    return {**known, "rollback": None, **more}


def back(facts: Facts, wanted: str | None = None) -> dict[str, str | None]:
    """Host → the release that it goes back to, None if it stays."""
    chosen = choose(facts, wanted)
    return {one.host: one.release if isinstance(one, Move) else None for one in chosen}


def why(facts: Facts, host: str) -> str:
    (stays,) = (one for one in choose(facts, None) if isinstance(one, Stay) and one.host == host)
    return stays.why


def test_what_the_last_deploy_did_not_bring_stays() -> None:
    facts: Facts = {
        ("mgmt", "m"): on("R3", "R1", "R3"),
        ("agent", "a"): on("R1", "R0", "R1"),
        ("ui", "u"): on("R2", "R1", "R2"),
    }
    assert back(facts) == {"m": "R1", "a": None, "u": None}
    assert "the last deploy (R3) did not change it; R2 serves" in why(facts, "u")


def test_a_component_without_an_earlier_release_does_not_stop_the_others() -> None:
    facts: Facts = {("mgmt", "m"): on("R3", "R1", "R3"), ("ui", "u"): on("R3", "R3")}
    assert back(facts) == {"m": "R1", "u": None}
    assert "no healthy release before R3" in why(facts, "u")


@pytest.mark.parametrize("reached", [1, 2, 19])
def test_hosts_that_a_failed_deploy_reached_go_back_to_what_the_others_serve(reached: int) -> None:
    new, old = on("R2", "R0", "R1", "R2"), on("R1", "R0", "R1")
    facts: Facts = {("ui", f"u{n}"): new if n < reached else old for n in range(20)}
    assert back(facts) == {f"u{n}": "R1" if n < reached else None for n in range(20)}


def test_all_hosts_of_a_component_go_to_one_release() -> None:
    facts: Facts = {
        ("ui", "u1"): on("R3", "R0", "R1", "R2", "R3"),
        ("ui", "u2"): on("R3", "R0", "R1", "R3"),
        ("ui", "u3"): on("R3", "R3"),
    }
    assert back(facts) == {"u1": "R1", "u2": "R1", "u3": None}
    facts = {("ui", "u1"): on("R3", "R1", "R3"), ("ui", "u2"): on("R3", "R2", "R3")}
    with pytest.raises(CommandFailed, match="u1, u2 have no healthy release in common"):
        choose(facts, None)


def test_a_second_rollback_goes_further_back_and_never_forward_again() -> None:
    # R3 was rolled back to R1, which thereby became healthy last.
    there = on("R1", "R0", "R3", "R1", regretted={"R3": "bad"})
    assert back({("mgmt", "m"): there}) == {"m": "R0"}
    later = on("R4", "R0", "R3", "R1", "R4", regretted={"R3": "bad"})
    assert back({("mgmt", "m"): later}) == {"m": "R1"}
    # A crash of R2 brought R1 back; R2 is healthy by record, and later.
    crashed = on("R1", "R0", "R2", "R1")
    assert back({("mgmt", "m"): crashed}) == {"m": "R0"}
    # A release that was rolled back on one host is no way back on another.
    facts: Facts = {
        ("ui", "u1"): on("R4", "R1", "R3", "R4", regretted={"R3": "bad"}),
        ("ui", "u2"): on("R4", "R1", "R3", "R4"),
    }
    assert back(facts) == {"u1": "R1", "u2": "R1"}


@pytest.mark.parametrize("switched", [False, True])
@pytest.mark.parametrize("recorded_on", [("u1",), ("u1", "u2"), ("u1", "u2", "m")])
def test_an_interrupted_rollback_is_resumed_from_what_is_recorded(
    *, switched: bool, recorded_on: tuple[str, ...]
) -> None:
    pending = {"from": "R3", "to": "R1", "why": "it leaks"}
    targets: list[tuple[Role, str]] = [("mgmt", "m"), ("ui", "u1"), ("ui", "u2")]
    facts: dict[tuple[Role, str], dict[str, Any]] = {
        (role, host): on(
            "R1" if switched and host == "u1" else "R3", "R0", "R1", "R3",
            rollback=pending if host in recorded_on else None,
        )
        for role, host in targets
    }  # fmt: skip
    facts["agent", "a"] = on("R2", "R1", "R2")
    assert back(facts) == {"m": "R1", "u1": "R1", "u2": "R1", "a": None}
    assert {one.host for one in unfinished(facts)} == {"m", "u1", "u2"}


def test_without_an_interrupted_rollback_nothing_is_unfinished() -> None:
    assert unfinished({("mgmt", "m"): on("R3", "R1", "R3")}) == []


def test_nothing_to_roll_back_is_told_with_the_reasons() -> None:
    facts: Facts = {("mgmt", "m"): on("R1", "R1"), ("agent", "a"): on(None)}
    with pytest.raises(CommandFailed) as failed:
        choose(facts, None)
    assert "m: mgmt: there is no healthy release before R1" in str(failed.value)
    assert "a: agent: nothing is deployed" in str(failed.value)


def test_a_named_release_is_taken_where_it_is_healthy() -> None:
    facts: Facts = {("mgmt", "m1"): on("R2", "R1", "R2"), ("mgmt", "m2"): on("R1", "R1", "R2")}
    assert back(facts, "R1") == {"m1": "R1", "m2": None}
    with pytest.raises(CommandFailed, match=r"m1: mgmt: there is no healthy release R9"):
        choose(facts, "R9")
