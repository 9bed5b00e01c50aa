"""The memory use of an agent, measured on this host or recorded in this release."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ocmt_cli.checkout import command

MEASURED = Path("bench") / "density.json"
"""The measurement's path below the data folder; `ocmt bench density` writes it."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Megabytes (10⁶ bytes) of `MemAvailable` per agent, including its container's shim."""

    origin: str
    """Where and how the figures were measured, for people."""
    swap: str
    """Where sleeping agents' memory was moved: `disk`, `zram` or `none`."""
    awake_mb: float
    """A gateway that has never slept, after a chat."""
    woken_mb: float
    """An agent that slept, was woken and was then trimmed, as happens on a full host."""
    asleep_mb: float
    swap_mb: float
    """A sleeping agent's memory in swap."""
    wake_ms: float
    """Milliseconds from the request to the gateway's answer, median."""


RECORDED = Figures(
    origin=(
        "recorded with openclaw 2026.9.6, Docker 20.10, Linux 6.18, 2 cores, 20 agents: a chat "
        "each, then asleep"
    ),
    swap="disk",
    awake_mb=972,
    woken_mb=350,  # 313-344 MB, and the shim
    asleep_mb=24,
    swap_mb=1042,
    wake_ms=283,  # of one agent alone; the first after minutes took 1.1 s
)


def figures(data: Path) -> Figures:
    """The figures measured on this host, or else the recorded ones.

    Raises `ValueError` if the measurement cannot be read.
    """
    path = data / MEASURED
    if not path.exists():
        return RECORDED
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["figures"]
        return Figures(**found)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{path} cannot be read ({error!r}). Measure again with "
            f"`{command('bench density')}`, or delete it to use the recorded figures."
        ) from error
