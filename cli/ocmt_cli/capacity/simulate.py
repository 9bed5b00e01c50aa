"""Runs `bench/simulation`, which uses the agent server's decisions, in a separate process."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from ocmt_cli.capacity.figures import Figures
from ocmt_cli.checkout import ROOT
from ocmt_cli.failure import CommandFailed


def simulate(scenario: dict[str, Any], *, progress: Callable[[str], None]) -> dict[str, Any]:
    """Run the simulation and return its outcome. Calls `progress` with a line per simulated hour.

    Raises `CommandFailed` with the program's last lines if it fails.
    """
    words = [sys.executable, "-m", "simulation", "--json", json.dumps(scenario)]
    with subprocess.Popen(
        words, cwd=ROOT / "bench", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        last: list[str] = []
        # The result is written at the end and fits into the pipe's buffer.
        for line in child.stderr or ():
            last = [*last[-5:], line.rstrip()]
            progress(line.rstrip())
        text = child.stdout.read() if child.stdout else ""
    if child.returncode != 0:
        raise CommandFailed("The simulation failed:\n" + "\n".join(last))
    found: dict[str, Any] = json.loads(text)
    return found


def costs(figures: Figures) -> dict[str, float]:
    """An agent's costs in the simulation, in bytes and seconds."""
    return {
        "awake": int(figures.awake_mb * 1e6),
        "woken": int(figures.woken_mb * 1e6),
        "asleep": int(figures.asleep_mb * 1e6),
        "thaw_s": figures.wake_ms / 1000,
    }


def lines(outcome: dict[str, Any], scenario: dict[str, Any]) -> list[str]:
    """The outcome as lines of text."""
    told = [
        f"{scenario['users']} users on {scenario['hosts']} hosts, {scenario['days']} day(s), "
        f"{outcome['messages']} messages, at most {outcome['mostAwake']} agents awake at a time."
    ]
    for state, waits in sorted(outcome["wakeWaitS"].items()):
        told.append(
            f"Wakes from {state}: {waits['count']}, waiting {waits['p50']:.2f} s (median), "
            f"{waits['p95']:.2f} s (95 %), {waits['p99']:.2f} s (99 %)."
        )
    refused = sum(outcome["refused"].values())
    jobs = outcome["jobs"]
    told += [
        f"Wakes refused: {refused}; messages lost: {outcome['lost']}; "
        f"evicted: {sum(outcome['evicted'].values())}; longest queue: {outcome['longestQueue']}.",
        f"Stopped because swap was short: {outcome['stoppedForSwap']}.",
        f"Scheduled jobs: {jobs['run']}, of them late {jobs['late']}, missed {jobs['missed']}.",
    ]
    if not outcome["breaks"]:
        return [*told, "Nothing broke."]
    told.append(f"Broke on {outcome['hostsBroken']} of {scenario['hosts']} hosts; first:")
    told += [
        f"  host {one['host']}, {one['at']}: {one['what']}: {one['why']}"
        for one in outcome["breaks"][:8]
    ]
    return told
