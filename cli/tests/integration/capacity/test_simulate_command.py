"""`ocmt capacity simulate` and the simulation's program fit together."""

import json

import pytest
from ocmt_cli.capacity.figures import RECORDED
from ocmt_cli.capacity.simulate import costs, lines, simulate
from ocmt_cli.failure import CommandFailed
from ocmt_cli.main import main

SCENARIO = {
    "users": 50,
    "hosts": 1,
    "ramBytes": 16 << 30,
    "swapBytes": 64 << 30,
    "cores": 4,
    "pauseAfterMinutes": 30,
    "stopAfterMinutes": 240,
    "days": 1,
    "seed": 1,
    "costs": costs(RECORDED),
}


def test_days_are_simulated_with_progress_and_reported() -> None:
    hours: list[str] = []
    outcome = simulate(SCENARIO, progress=hours.append)
    assert hours[0] == "day 1 00:00:00"
    assert len(hours) == 24
    told = "\n".join(lines(outcome, SCENARIO))
    assert f"50 users on 1 hosts, 1 day(s), {outcome['messages']} messages" in told


def test_a_scenario_that_is_none_is_an_error_with_the_programs_words() -> None:
    with pytest.raises(CommandFailed, match="KeyError"):
        simulate({}, progress=lambda _: None)


def test_the_command_prints_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["capacity", "simulate", "--users", "20", "--ram", "8GB", "--json"])
    assert ended.value.code == 0
    found = json.loads(capsys.readouterr().out)
    assert found["scenario"]["users"] == 20
    assert found["outcome"]["messages"] > 0
