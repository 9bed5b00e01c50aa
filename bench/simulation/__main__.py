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


def scenario_of(asked: dict[str, Any]) -> Scenario:
    """Parse a scenario. Raises `KeyError` or `TypeError` if it is invalid."""
    minutes = asked["pauseAfterMinutes"], asked["stopAfterMinutes"]
    pause_after, stop_after = (timedelta(minutes=value) for value in minutes)
    return Scenario(
        people=People(count=asked["users"]),
        hosts=asked["hosts"],
        host=HostSize(ram=asked["ramBytes"], swap=asked["swapBytes"], cores=asked["cores"]),
        costs=Costs(**asked["costs"]),
        times=Times(pause_after, stop_after, check_interval=timedelta(minutes=1)),
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
