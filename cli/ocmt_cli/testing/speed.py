"""How slow this machine is at the moment; scales the tiers' budgets of time.

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
"""Seconds for one round on the two slow cores that the budgets are set for."""


def slowness() -> float:
    """How many times longer a round takes here than `_USUAL_S`, at least 1; median of three."""
    taken = []
    for _ in range(_ROUNDS):
        begun = time.monotonic()
        workers = [subprocess.Popen([sys.executable, "-c", _WORK]) for _ in range(_AT_ONCE)]
        for worker in workers:
            worker.wait()
        taken.append(time.monotonic() - begun)
    return max(1.0, sorted(taken)[_ROUNDS // 2] / _USUAL_S)
