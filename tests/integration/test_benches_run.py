"""Benchmarks without containers run, and refuse what the machine cannot hold."""

import json
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parents[2] / "bench"


def run(name: str, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, str(BENCH / name), *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_control_plane_asks_the_engine_once_a_sweep_and_finds_who_is_gone() -> None:
    done = run("control.py", "--agents", "200", "--rounds", "2", "--json")
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)
    assert result["engineCallsASweep"] == {"observe_all": 1}
    assert result["restart"]["corrected"] == 2
    assert result["listBytes"] > 200 * 100


def test_density_refuses_more_agents_than_fit_and_says_what_is_missing(tmp_path: Path) -> None:
    done = run("density.py", "--agents", "100000", "--data", str(tmp_path))
    assert done.returncode == 1
    assert "100000 agents need" in done.stderr
    assert "ocmt memory enable" in done.stderr
    assert not (tmp_path / "bench").exists()
