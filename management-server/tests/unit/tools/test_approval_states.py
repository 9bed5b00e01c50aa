"""Approvals' states: a call begins at most once, and only by a decision about what holds now."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ocmt_management.tools.approval_states import (
    OPEN,
    TOLD,
    ApprovalChange,
    ApprovalState,
    Asked,
    Delivery,
    Event,
    Times,
    after,
    changes,
    next_attention,
    refusal,
)
from ocmt_management.tools.calls import Standing
from ocmt_management.tools.models import Rule

EVENTS = st.lists(st.sampled_from(Event), max_size=40)
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
MOMENTS = st.integers(0, 10_000).map(lambda s: NOW + timedelta(seconds=s))


def happened(events: list[Event]) -> list[tuple[ApprovalState, Event, ApprovalState]]:
    """What a row that starts to wait does at these events; the others leave it as it is."""
    state, steps = ApprovalState.WAITING, []
    for event in events:
        new = after(state, event)
        if new is not None:
            steps.append((state, event, new))
            state = new
    return steps


@given(EVENTS)
def test_a_call_begins_again_only_if_it_was_not_sent(events: list[Event]) -> None:
    begun = 0
    for _, event, _ in happened(events):
        begun += (event is Event.BEGIN) - (event is Event.PUT_BACK)
        assert begun in (0, 1)


@given(EVENTS)
def test_a_call_begins_by_a_decision_about_what_was_last_shown(events: list[Event]) -> None:
    before: Event | None = None
    for _, event, _ in happened(events):
        if event is Event.BEGIN:
            assert before in (Event.APPROVE, Event.PUT_BACK)
        before = event


@given(EVENTS)
def test_what_has_ended_stays_ended_but_a_lost_call_may_still_report(events: list[Event]) -> None:
    for state, event, new in happened(events):
        if state not in OPEN:
            assert state is ApprovalState.UNCERTAIN
            assert (event, new) in (
                (Event.SUCCEED, ApprovalState.DONE),
                (Event.FAIL, ApprovalState.FAILED),
                (Event.PUT_BACK, ApprovalState.APPROVED),
            )


@given(EVENTS)
def test_a_decision_is_never_lost(events: list[Event]) -> None:
    """After an approval the call runs, is asked for again, or is refused with a reason."""
    for state, event, _ in happened(events):
        if state is ApprovalState.APPROVED:
            assert event in (Event.BEGIN, Event.ASK_AGAIN, Event.REFUSE)


@pytest.mark.parametrize("event", list(Event))
def test_a_denied_call_can_do_nothing_more(event: Event) -> None:
    assert after(ApprovalState.DENIED, event) is None
    assert after(ApprovalState.EXPIRED, event) is None


@given(
    state=st.sampled_from(ApprovalState),
    delivery=st.sampled_from(Delivery),
    moments=st.tuples(*[MOMENTS] * 6),
    mailed=st.booleans(),
)
def test_whatever_is_not_finished_gets_attention(
    state: ApprovalState, delivery: Delivery, moments: tuple[datetime, ...], mailed: bool
) -> None:
    created, expires, lease, held, deliver, mail = moments
    found = next_attention(
        state,
        delivery,
        Times(
            created_at=created,
            expires_at=expires,
            lease_until=lease,
            held_until=held,
            deliver_at=deliver,
            mail_at=None if mailed else mail,
        ),
    )

    finished = state not in OPEN and (state not in TOLD or delivery is Delivery.DONE)
    assert (found is None) == finished
    if state is ApprovalState.WAITING:
        assert found == (expires if mailed else min(expires, mail))


STANDING = Standing(rule=Rule.ASK, pin=b"p" * 32, rules_version=1, account_version=1)
ASKED = Asked(pin=b"p" * 32, server_version=1, rules_version=1, account_version=1)


def standing(**other: object) -> Standing:
    values = {name: getattr(STANDING, name) for name in Standing.__slots__}
    return Standing(**(values | other))


def test_a_call_runs_when_nothing_has_changed() -> None:
    assert refusal(STANDING) is None
    assert changes(ASKED, STANDING, server_version=1) == frozenset()


@pytest.mark.parametrize(
    ("now", "server_version", "change"),
    [
        (standing(pin=b"q" * 32), 1, ApprovalChange.DEFINITION),
        (standing(account_version=2), 1, ApprovalChange.CREDENTIAL),
        (standing(rules_version=2), 1, ApprovalChange.RULE),
        (STANDING, 2, ApprovalChange.SERVER),
    ],
)
def test_a_change_is_asked_for_again(
    now: Standing, server_version: int, change: ApprovalChange
) -> None:
    assert changes(ASKED, now, server_version=server_version) == {change}


def test_a_tool_that_is_allowed_by_now_is_not_asked_for_again() -> None:
    """Such as after "always" for another call of it."""
    allowed = standing(rule=Rule.ALLOW, rules_version=2)

    assert changes(ASKED, allowed, server_version=1) == frozenset()


@pytest.mark.parametrize("now", [standing(rule=Rule.DENY), standing(pin=None)])
def test_a_denied_or_missing_tool_is_refused_with_the_reason(now: Standing) -> None:
    assert refusal(now)
