from dataclasses import replace
from datetime import timedelta

import pytest
from ocmt_agent.decisions import sleep_policy as policy
from ocmt_agent.decisions.sleep_policy import Action, Times
from simulation import run
from simulation.__main__ import scenario_of
from simulation.outcome import Outcome, clock, percentiles
from simulation.people import DAY_S, messages, of
from simulation.run import PAUSED, RUNNING, STOPPED, Simulation
from simulation.scenario import Costs, HostSize, People, Scenario

GIB = 1024**3
CALM = People(count=200, stormy=0.0)
ROOMY = Scenario(
    people=CALM,
    hosts=1,
    host=HostSize(ram=256 * GIB, swap=512 * GIB, cores=64),
    costs=Costs(),
    times=Times(timedelta(minutes=30), timedelta(hours=4), timedelta(minutes=1)),
    wake_timeout_s=120.0,
    days=1,
    seed=1,
)


def played(scenario: Scenario) -> Outcome:
    return Simulation(scenario).run()


def test_the_same_seed_gives_the_same_days_and_another_seed_others() -> None:
    first, again = played(ROOMY).as_json(), played(ROOMY).as_json()
    assert first == again
    assert first != played(replace(ROOMY, seed=2)).as_json()


def test_a_person_writes_in_order_and_the_same_whoever_else_there_is() -> None:
    def days_of(person: int) -> list[tuple[float, float]]:
        return list(messages(of(person, 1), CALM, days=3, stormy=False))

    assert days_of(7) == days_of(7)
    written = [when for when, _ in days_of(7)]
    assert written == sorted(written)


def test_with_room_for_everybody_nothing_is_refused_lost_or_missed() -> None:
    outcome = played(ROOMY).as_json()
    assert outcome["messages"] > 1000
    assert (outcome["lost"], outcome["refused"], outcome["evicted"]) == (0, {}, {})
    assert outcome["jobs"]["run"] > 10
    assert outcome["jobs"]["missed"] == 0
    assert outcome["breaks"] == []


def test_too_little_memory_breaks_and_says_which_host_when_and_why() -> None:
    small = replace(ROOMY, host=HostSize(ram=4 * GIB, swap=16 * GIB, cores=2))
    outcome = played(small).as_json()
    assert outcome["refused"]["memory"] > 0
    assert outcome["leastAvailableBytes"] >= 0, "admission let more in than fits"
    broken = [b for b in outcome["breaks"] if b["what"] == "memory"]
    assert broken[0]["host"] == 0
    assert "MB short with" in broken[0]["why"]


def test_an_office_that_starts_all_at_once_waits_for_cores() -> None:
    crowd = replace(
        ROOMY,
        people=replace(CALM, present=1.0, stormy=1.0, with_job=0.0),
        host=replace(ROOMY.host, cores=4),
    )
    outcome = played(crowd).as_json()
    assert outcome["longestQueue"] > 50
    assert {b["what"] for b in outcome["breaks"]} & {"slow", "queue"}


def test_a_hundred_jobs_at_nine_are_staggered_and_in_time() -> None:
    jobs_only = replace(
        ROOMY,
        people=replace(CALM, present=0.0, with_job=1.0),
        host=replace(ROOMY.host, cores=4),
    )
    outcome = played(jobs_only).as_json()
    assert outcome["messages"] == 0
    assert outcome["jobs"]["run"] > 150
    assert (outcome["jobs"]["late"], outcome["jobs"]["missed"]) == (0, 0)


def test_swap_is_what_keeps_idle_agents_from_being_stopped() -> None:
    host = HostSize(ram=32 * GIB, swap=512 * GIB, cores=16)
    with_swap = played(replace(ROOMY, host=host)).as_json()
    without = played(replace(ROOMY, host=replace(host, swap=0))).as_json()
    assert without["evicted"].get("stop", 0) > with_swap["evicted"].get("stop", 0)


def test_longer_pauses_turn_boots_into_thaws() -> None:
    long = replace(ROOMY.times, stop_after=timedelta(days=2))
    usual = played(replace(ROOMY, days=2))
    longer = played(replace(ROOMY, days=2, times=long))
    assert len(longer.wakes[STOPPED]) < len(usual.wakes[STOPPED])
    assert len(longer.wakes[PAUSED]) > len(usual.wakes[PAUSED])


def test_by_need_sleepers_stay_until_swap_is_short_and_then_some_are_stopped() -> None:
    by_need = replace(ROOMY, days=2, times=replace(ROOMY.times, stop_by_need=True))
    by_time = played(replace(ROOMY, days=2))
    staying = played(by_need)
    assert staying.stopped_for_swap == 0
    assert len(staying.wakes[STOPPED]) < len(by_time.wakes[STOPPED])
    small = replace(ROOMY.host, swap=40 * GIB)
    short = played(replace(by_need, host=small))
    assert short.stopped_for_swap > 0
    assert short.most_swapped < 40 * GIB
    assert len(staying.wakes[STOPPED]) < len(short.wakes[STOPPED])
    none = played(replace(by_need, host=replace(ROOMY.host, swap=0)))
    assert none.stopped_for_swap == 0


def test_the_scenario_of_the_command_stops_by_need_unless_a_time_is_given() -> None:
    asked: dict[str, object] = {
        "users": 1, "hosts": 1, "ramBytes": 1, "swapBytes": 1, "cores": 1, "days": 1, "seed": 1,
        "pauseAfterMinutes": 30, "stopAfterMinutes": None, "costs": {},
    }  # fmt: skip
    four_hours = timedelta(hours=4)
    times = scenario_of(asked).times
    assert (times.stop_by_need, times.stop_after) == (True, four_hours)
    times = scenario_of(asked | {"stopAfterMinutes": 60}).times
    assert (times.stop_by_need, times.stop_after) == (False, timedelta(hours=1))


def test_it_is_the_servers_policy_that_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = set()

    def never(situation: policy.Situation, times: policy.Times) -> Action:
        asked.add(situation.state)
        return Action.NOTHING

    monkeypatch.setattr(run, "decide", never)
    outcome = played(replace(ROOMY, people=replace(CALM, with_job=0.0)))
    assert asked == {RUNNING}
    assert outcome.awake_now == outcome.most_awake, "somebody was put to sleep all the same"
    assert not outcome.wakes[PAUSED]


def test_what_agents_hold_adds_up_on_every_host() -> None:
    simulation = Simulation(replace(ROOMY, hosts=3, people=replace(CALM, count=300)))
    simulation.run()
    for host in simulation.hosts:
        agents = [a for a in simulation.agents if a.host is host]
        assert len(agents) == 100
        assert host.used == sum(a.ram for a in agents)
        assert host.swapped == sum(a.swap for a in agents)
        assert set(host.awake) == {a for a in agents if a.state is RUNNING}
        assert set(host.paused) == {a for a in agents if a.state is PAUSED}


def test_times_and_percentiles_are_shown_as_people_read_them() -> None:
    assert clock(DAY_S + 9 * 3600 + 40) == "day 2 09:00:40"
    assert percentiles([1.0, 2.0, 3.0, 4.0]) == {"count": 4, "p50": 3.0, "p95": 4.0, "p99": 4.0}
