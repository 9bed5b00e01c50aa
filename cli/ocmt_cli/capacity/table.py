"""Computes how many users a machine of a given size can hold. Pure."""

from dataclasses import dataclass
from typing import Any

from ocmt_cli.capacity.figures import Figures

GIB = 1024**3
SEED_SIZES = (4 * GIB, 8 * GIB, 16 * GIB)
BUSY_TO_CALM = (0.2, 0.1)
"""The default shares of users who are active at once: the busiest and the calmest."""

_RESERVE_BYTES = 700_000_000
_RESERVE_SHARE = 0.05
RESERVE_TEXT = "0.7 GB + 5 % of RAM stay with the system, Docker and OCMT's servers"


@dataclass(frozen=True, slots=True)
class Row:
    """How many users a machine holds: always on, and with hibernation at both shares."""

    ram_bytes: int
    always_on: int
    fewest: int
    most: int
    swap_bytes: int
    """Bytes of swap for `most` users, as if all their agents slept."""

    def as_json(self) -> dict[str, Any]:
        return {
            "ramBytes": self.ram_bytes,
            "alwaysOn": self.always_on,
            "withHibernation": {"fewest": self.fewest, "most": self.most},
            "swapBytes": self.swap_bytes,
        }


def row(ram_bytes: int, *, figures: Figures, shares: tuple[float, float]) -> Row:
    """How many users a machine with `ram_bytes` of RAM holds.

    `shares` are the shares of users who are active at once, each from 0 to 1: `(busiest, calmest)`.
    """
    usable = max(0.0, ram_bytes * (1 - _RESERVE_SHARE) - _RESERVE_BYTES) / 1e6
    busy, calm = (users(usable, figures, share) for share in shares)
    return Row(
        ram_bytes=ram_bytes,
        always_on=int(usable / figures.awake_mb),
        fewest=busy,
        most=calm,
        swap_bytes=int(calm * figures.swap_mb * 1e6),
    )


def users(usable_mb: float, figures: Figures, share: float) -> int:
    """How many users fit if the share `share` of them is awake and the rest asleep."""
    return int(usable_mb / (share * figures.woken_mb + (1 - share) * figures.asleep_mb))
