"""Which rule holds for a tool."""

import itertools

import pytest
from ocmt_management.tools.models import DefinitionState, Rule
from ocmt_management.tools.rules import (
    AlwaysRefused,
    Given,
    Rules,
    always_refused,
    effective,
    version_of,
)

PIN, OTHER = b"p" * 32, b"q" * 32
ALLOW, ASK, DENY = Given(Rule.ALLOW), Given(Rule.ASK), Given(Rule.DENY)
NONE = Rules()


def rule(admin: Rules, own: Rules, state: DefinitionState = DefinitionState.OK) -> Rule:
    return effective(admin=admin, own=own, state=state, pin=PIN)


def test_without_a_rule_a_call_is_asked_for() -> None:
    assert rule(NONE, NONE) is Rule.ASK


@pytest.mark.parametrize(("first", "second"), [*itertools.product([ALLOW, ASK, DENY], repeat=2)])
def test_the_stricter_side_wins(first: Given, second: Given) -> None:
    strictness = [Rule.ALLOW, Rule.ASK, Rule.DENY]
    stricter = max(first.rule, second.rule, key=strictness.index)

    assert rule(Rules(tool=first), Rules(tool=second)) is stricter
    assert rule(Rules(server=first), Rules(tool=second)) is stricter
    assert rule(Rules(server=first), Rules(server=second)) is stricter


def test_within_a_side_the_rule_for_the_tool_wins() -> None:
    assert rule(NONE, Rules(tool=ALLOW, server=DENY)) is Rule.ALLOW
    assert rule(Rules(tool=DENY, server=ALLOW), Rules(tool=ALLOW)) is Rule.DENY


def test_always_is_for_one_definition() -> None:
    assert rule(NONE, Rules(tool=Given(Rule.ALLOW, PIN))) is Rule.ALLOW
    assert rule(NONE, Rules(tool=Given(Rule.ALLOW, OTHER))) is Rule.ASK
    assert rule(NONE, Rules(tool=Given(Rule.ALLOW, OTHER), server=DENY)) is Rule.DENY


def test_a_new_tool_is_not_allowed_by_a_rule_for_its_server() -> None:
    new = DefinitionState.NEW
    assert rule(NONE, Rules(server=ALLOW), new) is Rule.ASK
    assert rule(Rules(server=ALLOW), NONE, new) is Rule.ASK
    assert rule(NONE, Rules(tool=Given(Rule.ALLOW, PIN)), new) is Rule.ALLOW
    assert rule(NONE, Rules(server=DENY), new) is Rule.DENY


@pytest.mark.parametrize(
    ("admin", "state", "reason"),
    [
        (NONE, DefinitionState.OK, None),
        (NONE, DefinitionState.NEW, None),
        (Rules(server=ALLOW), DefinitionState.OK, None),
        (Rules(tool=ALLOW, server=ASK), DefinitionState.OK, None),
        (Rules(server=ASK), DefinitionState.OK, AlwaysRefused.ADMIN_RULE),
        (Rules(tool=ASK), DefinitionState.OK, AlwaysRefused.ADMIN_RULE),
        (Rules(tool=ASK, server=ALLOW), DefinitionState.NEW, AlwaysRefused.ADMIN_RULE),
        (Rules(tool=Given(Rule.ALLOW, OTHER), server=ASK), DefinitionState.OK,
         AlwaysRefused.ADMIN_RULE),
        (Rules(server=ALLOW), DefinitionState.NEW, AlwaysRefused.NEW_TOOL),
    ],
)  # fmt: skip
def test_always_is_offered_if_it_would_hold(
    admin: Rules, state: DefinitionState, reason: AlwaysRefused | None
) -> None:
    assert always_refused(admin=admin, state=state, pin=PIN) == reason
    own = Rules(tool=Given(Rule.ALLOW, PIN))
    assert (rule(admin, own, state) is Rule.ALLOW) is (reason is None)


def test_another_rule_is_another_version() -> None:
    rules = [
        Rules(), Rules(tool=ALLOW), Rules(tool=ASK), Rules(tool=DENY), Rules(server=ALLOW),
        Rules(tool=Given(Rule.ALLOW, PIN)), Rules(tool=Given(Rule.ALLOW, OTHER)),
    ]  # fmt: skip
    versions = {version_of(admin=a, own=b) for a in rules for b in rules}

    assert len(versions) == len(rules) ** 2
    assert all(0 <= version < 2**53 for version in versions)
