"""How slow this machine is at the moment: what the tiers' budgets of time are scaled by.

A budget is to find tests that grew, not a machine that is slow or has other work to do.
"""

import subprocess
import sys
import time

# A fixed piece of what tests do most: starting Python, importing, and making small objects.
_WORK = """
import asyncio, json, ssl, sqlite3, xml.etree.ElementTree
for number in range(150):
    json.loads(json.dumps({str(n): [n, {"number": number}] for n in range(2_000)}))
"""
_AT_ONCE = 2
_ROUNDS = 3
_USUAL_S = 0.70
"""What one round takes on the two slow cores for which the budgets are set."""


def slowness() -> float:
    """How many times longer than there the same work takes here; at least 1."""
    taken = []
    for _ in range(_ROUNDS):
        begun = time.monotonic()
        workers = [subprocess.Popen([sys.executable, "-c", _WORK]) for _ in range(_AT_ONCE)]
        for worker in workers:
            worker.wait()
        taken.append(time.monotonic() - begun)
    return max(1.0, sorted(taken)[_ROUNDS // 2] / _USUAL_S)
