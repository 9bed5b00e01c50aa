"""What an agent costs in memory: measured on this host, or as recorded in this release."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MEASURED = Path("bench") / "density.json"
"""Below the data folder; `ocmt bench density` writes it there."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Megabytes of 10⁶ bytes of host memory an agent: `MemAvailable` ÷ agents, shims included."""

    origin: str
    """Where and how they were measured."""
    swap: str
    """Where the memory of sleeping agents went: `disk`, `zram` or `none`."""
    awake_mb: float
    """A gateway that never slept, after a chat."""
    woken_mb: float
    """One that slept and woke, trimmed: on a host that holds as many as it can, memory is short."""
    asleep_mb: float
    swap_mb: float
    """What a sleeping one holds in swap."""
    wake_ms: float
    """From the request to the gateway's answer, median."""


RECORDED = Figures(
    origin=(
        "recorded with openclaw 2026.9.6, Docker 20.10, Linux 6.18, 2 cores, 20 agents: a chat "
        "each, then asleep"
    ),
    swap="disk",
    awake_mb=972,
    woken_mb=350,  # 313-344 MB of its own, and the shim
    asleep_mb=24,
    swap_mb=1042,
    wake_ms=283,  # of one agent by itself; the first after minutes took 1.1 s
)


def figures(data: Path) -> Figures:
    """What was measured here, else what was recorded.

    Raises `ValueError` for a measurement that cannot be read.
    """
    path = data / MEASURED
    if not path.exists():
        return RECORDED
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["figures"]
        return Figures(**found)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{path} cannot be read ({error!r}). Measure again with `ocmt bench density`, or "
            "delete it to use the recorded figures."
        ) from error
