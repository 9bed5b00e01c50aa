"""Measures how slow this machine is now, to scale the tiers' time budgets.

Budgets are meant to find slow tests, not slow or busy machines.
"""

import subprocess
import sys
import time

# Typical work of the tests: starting Python, importing modules, making small objects.
_WORK = """
import asyncio, json, ssl, sqlite3, xml.etree.ElementTree
for number in range(150):
    json.loads(json.dumps({str(n): [n, {"number": number}] for n in range(2_000)}))
"""
_AT_ONCE = 2
_ROUNDS = 3
_USUAL_S = 0.70
"""Seconds for a round on the two slow cores for which the budgets are set."""


def slowness() -> float:
    """The time of a round here relative to `_USUAL_S`, at least 1; the median of three."""
    taken = []
    for _ in range(_ROUNDS):
        begun = time.monotonic()
        workers = [subprocess.Popen([sys.executable, "-c", _WORK]) for _ in range(_AT_ONCE)]
        for worker in workers:
            worker.wait()
        taken.append(time.monotonic() - begun)
    return max(1.0, sorted(taken)[_ROUNDS // 2] / _USUAL_S)
