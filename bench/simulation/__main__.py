"""Run in `bench`: `python -m simulation --json '{"users": 1000, …}'`; prints the outcome as JSON.

Progress is printed to standard error, a line per simulated hour.
"""

import argparse
import gc
import json
import sys
import time
from datetime import timedelta
from typing import Any

from ocmt_agent.decisions.sleep_policy import Times

from simulation.outcome import clock
from simulation.run import Simulation
from simulation.scenario import Costs, HostSize, People, Scenario

_WITHOUT_SWAP_MINUTES = 240
"""STOP_AFTER_MS of an agent server where it is not set."""


def scenario_of(asked: dict[str, Any]) -> Scenario:
    """The scenario of a JSON object. Raises `KeyError` or `TypeError` if that is invalid."""
    stop_after = asked["stopAfterMinutes"]
    times = Times(
        pause_after=timedelta(minutes=asked["pauseAfterMinutes"]),
        stop_after=timedelta(minutes=_WITHOUT_SWAP_MINUTES if stop_after is None else stop_after),
        check_interval=timedelta(minutes=1),
        stop_by_need=stop_after is None,
    )
    return Scenario(
        people=People(count=asked["users"]),
        hosts=asked["hosts"],
        host=HostSize(ram=asked["ramBytes"], swap=asked["swapBytes"], cores=asked["cores"]),
        costs=Costs(**asked["costs"]),
        times=times,
        wake_timeout_s=120.0,
        days=asked["days"],
        seed=asked["seed"],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", required=True, help="the scenario, one JSON object")
    scenario = scenario_of(json.loads(parser.parse_args().json))
    started = time.monotonic()
    gc.disable()  # millions of small, long-lived events without cycles
    outcome = Simulation(scenario).run(lambda now: print(clock(now), file=sys.stderr, flush=True))
    took = {"tookS": round(time.monotonic() - started, 1)}
    print(json.dumps(outcome.as_json() | took, indent=2))


if __name__ == "__main__":
    main()
