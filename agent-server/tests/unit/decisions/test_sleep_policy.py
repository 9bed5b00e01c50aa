from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ocmt_agent.decisions.sleep_policy import (
    Action,
    Situation,
    Times,
    Wishes,
    decide,
    worth_sleeping,
)
from ocmt_common.agent_api import HibernationState as S

MINUTE = timedelta(minutes=1)
TIMES = Times(pause_after=30 * MINUTE, stop_after=240 * MINUTE, check_interval=MINUTE)
ZERO = timedelta()


def situation(
    state: S,
    *,
    idle: timedelta = ZERO,
    in_state: timedelta = ZERO,
    in_flight: int = 0,
    until_job: timedelta | None = None,
) -> Situation:
    return Situation(state, idle, in_state, in_flight, until_job)


@pytest.mark.parametrize(
    ("given_situation", "action"),
    [
        (situation(S.RUNNING, idle=29 * MINUTE), Action.NOTHING),
        (situation(S.RUNNING, idle=30 * MINUTE), Action.PAUSE),
        (situation(S.RUNNING, idle=30 * MINUTE, in_flight=1), Action.NOTHING),
        # Stop counts from the pause, not from the last activity.
        (situation(S.PAUSED, idle=300 * MINUTE, in_state=239 * MINUTE), Action.NOTHING),
        (situation(S.PAUSED, idle=300 * MINUTE, in_state=240 * MINUTE), Action.STOP),
        (situation(S.STOPPED, idle=9999 * MINUTE, in_state=9999 * MINUTE), Action.NOTHING),
        # A job is met in time, one look early; the colder the agent the earlier.
        (situation(S.PAUSED, until_job=2 * MINUTE), Action.NOTHING),
        (situation(S.PAUSED, until_job=MINUTE), Action.WAKE),
        (situation(S.STOPPED, until_job=2 * MINUTE), Action.NOTHING),
        (situation(S.STOPPED, until_job=1.5 * MINUTE), Action.WAKE),
        (situation(S.STOPPED, until_job=-500 * MINUTE), Action.WAKE),
        # Woken for a job, it waits for it, then sleeps again soon after.
        (situation(S.RUNNING, idle=99 * MINUTE, until_job=MINUTE), Action.NOTHING),
        (situation(S.RUNNING, idle=99 * MINUTE, until_job=-MINUTE), Action.PAUSE),
    ],
)
def test_the_policy_decides(given_situation: Situation, action: Action) -> None:
    assert decide(given_situation, TIMES) is action


def test_an_agent_in_swap_is_stopped_by_time_only_where_a_time_was_set() -> None:
    by_need = replace(TIMES, stop_by_need=True)
    in_swap = replace(situation(S.PAUSED, in_state=9999 * MINUTE), asleep_in_swap=True)
    in_ram = replace(in_swap, asleep_in_swap=False)
    assert decide(in_swap, by_need) is Action.NOTHING
    assert decide(in_swap, TIMES) is Action.STOP
    assert decide(in_ram, by_need) is Action.STOP
    assert decide(replace(in_ram, in_state=239 * MINUTE), by_need) is Action.NOTHING
    wished = replace(in_swap, wishes=Wishes(stop_after=60 * MINUTE))
    assert decide(wished, by_need) is Action.STOP
    assert decide(replace(wished, in_state=59 * MINUTE), by_need) is Action.NOTHING
    # A job is met all the same.
    assert decide(replace(in_swap, until_job=MINUTE), by_need) is Action.WAKE


@pytest.mark.parametrize("state", [S.PROVISIONING, S.WAKING])
def test_an_agent_between_states_is_left_alone(state: S) -> None:
    lost = situation(state, idle=9999 * MINUTE, in_state=9999 * MINUTE, until_job=-MINUTE)
    assert decide(lost, TIMES) is Action.NOTHING


durations = st.timedeltas(min_value=-1000 * MINUTE, max_value=10000 * MINUTE)


@given(state=st.sampled_from(S), idle=durations, in_state=durations, job=st.none() | durations)
def test_an_agent_in_use_is_never_put_to_sleep(
    state: S, idle: timedelta, in_state: timedelta, job: timedelta | None
) -> None:
    used = Situation(S.RUNNING, idle, in_state, in_flight=1, until_job=job)
    recent = Situation(state, min(idle, 29 * MINUTE), ZERO, in_flight=0, until_job=job)
    assert decide(used, TIMES) is Action.NOTHING
    assert decide(recent, TIMES) not in (Action.PAUSE, Action.STOP)


@given(until_job=durations)
def test_no_agent_is_put_to_sleep_that_the_next_sweep_would_wake(until_job: timedelta) -> None:
    if worth_sleeping(until_job, TIMES):
        at_next_look = until_job - TIMES.check_interval
        for state in (S.PAUSED, S.STOPPED):
            asleep = situation(state, until_job=at_next_look)
            assert decide(asleep, TIMES) is Action.NOTHING
