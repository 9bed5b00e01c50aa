"""The test tiers: their budgets, and what a machine needs to run them."""

import os
from collections.abc import Callable
from dataclasses import dataclass

from ocmt_common.openclaw import default_image

from ocmt_cli.doctor.machine import program
from ocmt_cli.engine import Engine, EngineSlow


@dataclass(frozen=True, slots=True)
class Tier:
    """A tier of tests. `obstacle` returns why it cannot run here and the cure, or `None`.

    `beside_others` is whether its tests may run in parallel. `budget_s` is the time that the whole
    tier may take on two slow cores (speed.py); a longer run fails.
    """

    name: str
    obstacle: Callable[[], str | None]
    budget_s: float
    beside_others: bool = False


def _no_obstacle() -> str | None:
    return None


def engine_answers() -> bool:
    engine = Engine()
    try:
        return engine.version() is not None
    finally:
        engine.close()


def has_image() -> bool:
    engine = Engine()
    try:
        return engine.has_image(default_image())
    finally:
        engine.close()


def _docker() -> str | None:
    try:
        answers = engine_answers()
    except EngineSlow as slow:
        return str(slow)
    if not answers:
        return "no Docker Engine answers (apt-get install docker.io, and start it)"
    if os.geteuid() != 0:
        return "the image and the agents' folders need root (run it as root)"
    for name in ("mmdebstrap", "gcc"):
        if program(name) is None and not has_image():
            return f"no image, and no {name} to build it with (apt-get install {name})"
    return None


def _e2e() -> str | None:
    if program("chromium") is None:
        return "no Chromium on this machine (apt-get install chromium)"
    return None


TIERS = {
    tier.name: tier
    for tier in (
        Tier("unit", _no_obstacle, budget_s=90, beside_others=True),
        Tier("integration", _no_obstacle, budget_s=900, beside_others=True),
        Tier("docker", _docker, budget_s=300),
        Tier("e2e", _e2e, budget_s=720, beside_others=True),
        Tier("nightly", _no_obstacle, budget_s=1800),
    )
}
DEFAULT_TIERS = ("unit", "integration")
"""The default tiers of `ocmt test`; they need only Python and git."""
