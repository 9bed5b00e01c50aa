"""`ocmt bench sync --json` on a short history has every figure, and its peers'."""

import json
import subprocess
import sys


def test_the_sync_benchmark_gives_its_figures_and_its_peers() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ocmt_cli.main", "bench", "sync", "--json", "--commits", "60",
         "--long", "40"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert (figures["commits"], figures["long"]["commits"]) == (60, 40)
    for name, aim in figures["aims"].items():
        part = figures
        for key in name.split("."):
            part = part[key]
        assert part > 0, f"{name} is measured, whose aim is {aim}"
    assert set(figures["byHandS"]) == {"git cherry", "git log --name-only"}
    assert figures["pygit2WalkS"] > 0
