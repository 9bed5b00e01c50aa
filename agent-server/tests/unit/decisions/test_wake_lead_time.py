from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ocmt_agent.decisions.sleep_policy import COLD_LEAD, THAW_LEAD
from ocmt_agent.decisions.wake_lead_time import Job, WakeTimes, lead, plan
from ocmt_common.agent_api import HibernationState as S

NINE = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
TEN_S = timedelta(seconds=10)


def test_until_enough_wakes_were_measured_the_default_holds() -> None:
    assert lead(S.STOPPED, []) == COLD_LEAD
    assert lead(S.STOPPED, [9.0] * 4) == COLD_LEAD
    assert lead(S.STOPPED, [9.0] * 5) < COLD_LEAD
    assert lead(S.PAUSED, []) == THAW_LEAD


@pytest.mark.parametrize("boots", [[35.0], [24.9], [41.0, 58.0], [2.0, 35.0, 35.0, 35.0]])
def test_the_first_boots_of_a_slow_machine_leave_a_margin(boots: list[float]) -> None:
    assert lead(S.STOPPED, boots) >= timedelta(seconds=max(boots) * 1.5)


def test_a_first_boot_counts_until_enough_others_are_known() -> None:
    times = WakeTimes()
    times.add(S.PROVISIONING, 58.0)
    assert times.lead(S.STOPPED) == timedelta(seconds=58 * 1.5 + 2)
    for _ in range(50):
        times.add(S.STOPPED, 10.0)
    times.add(S.PROVISIONING, 300.0)
    assert times.lead(S.STOPPED) == timedelta(seconds=10 * 1.5 + 2)


def test_the_lead_follows_the_slow_wakes_but_not_the_slowest() -> None:
    seconds = [8.0] * 18 + [20.0, 300.0]
    assert lead(S.STOPPED, seconds) == timedelta(seconds=20 * 1.5 + 2)


@given(st.lists(st.floats(0, 1e6), max_size=60), st.sampled_from([S.PAUSED, S.STOPPED]))
def test_a_lead_is_never_nothing_and_never_hours(seconds: list[float], state: S) -> None:
    assert timedelta(seconds=1) <= lead(state, seconds) <= timedelta(minutes=10)


def test_only_the_latest_wakes_count_and_they_can_be_kept() -> None:
    times = WakeTimes()
    for _ in range(60):
        times.add(S.STOPPED, 40.0)
    for _ in range(50):
        times.add(S.STOPPED, 2.0)
    times.add(S.FAILED, 90.0)
    assert times.lead(S.STOPPED) == timedelta(seconds=5)
    assert WakeTimes(times.kept()).lead(S.STOPPED) == timedelta(seconds=5)
    assert times.lead(S.FAILED) == times.lead(S.STOPPED)  # boots too


def test_a_hundred_jobs_at_nine_are_woken_in_time_two_at_once() -> None:
    jobs = [Job(f"u{n:03}", NINE, TEN_S, cold=True) for n in range(100)]
    begins = sorted(plan(jobs, cores=2).values())
    assert begins[-1] == NINE - TEN_S
    assert begins[0] == NINE - 50 * TEN_S
    for earlier, later in pairwise(begins[::2]):
        assert later - earlier == TEN_S


def test_a_hundred_sleepers_are_thawed_for_nine_four_at_once_on_two_cores() -> None:
    jobs = [Job(f"u{n:03}", NINE, TEN_S, cold=False) for n in range(100)]
    begins = sorted(plan(jobs, cores=2).values())
    assert begins == [NINE - (25 - n // 4) * TEN_S for n in range(100)]


def test_a_lone_job_is_woken_no_earlier_than_it_needs() -> None:
    jobs = [Job("ada", NINE, TEN_S, cold=True), Job("ben", NINE, TEN_S, cold=False)]
    begins = plan(jobs, cores=1)
    assert begins == {"ada": NINE - TEN_S, "ben": NINE - TEN_S}


@given(
    st.lists(st.tuples(st.integers(0, 3600), st.floats(1, 60), st.booleans()), max_size=40),
    st.integers(1, 4),
)
def test_no_job_is_late_by_plan_and_no_more_overlap_than_the_cores_bear(
    given_jobs: list[tuple[int, float, bool]], cores: int
) -> None:
    jobs = [
        Job(f"u{n}", NINE + timedelta(seconds=at), timedelta(seconds=takes), cold=cold)
        for n, (at, takes, cold) in enumerate(given_jobs)
    ]
    begins = plan(jobs, cores=cores)
    assert set(begins) == {job.user_id for job in jobs}
    moment = timedelta(microseconds=10)
    for job in jobs:
        assert begins[job.user_id] + job.lead <= job.at + moment
        together = [
            other
            for other in jobs
            if other.cold is job.cold
            and begins[other.user_id] - moment
            <= begins[job.user_id]
            < begins[other.user_id] + other.lead - moment
        ]
        assert len(together) <= (cores if job.cold else 2 * cores)


@pytest.mark.parametrize("cold", [True, False])
def test_the_order_in_which_jobs_are_listed_changes_nothing(cold: bool) -> None:
    jobs = [Job(f"u{n}", NINE + n * TEN_S, 3 * TEN_S, cold=cold) for n in range(10)]
    forwards = plan(jobs, cores=2)
    assert plan(reversed(jobs), cores=2) == forwards
