"""The record of what `ocmt memory enable` has set up, so that `disable` removes exactly that."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Made:
    """What `enable` sets up.

    Written before the first change, so that an interrupted `enable` can be finished or undone.
    """

    file: str | None
    """The swap file; `None` without swap on disk."""
    file_bytes: int
    encrypted: bool
    zram_bytes: int
    """Bytes of the compressed device, before compression; 0 without one."""
    zswap_before: tuple[tuple[str, str], ...] | None
    """zswap's settings before `enable` changed them; `None` when it did not."""

    def same_wish(self, other: "Made") -> bool:
        """Whether both are for the same wish; zswap's earlier settings are not compared."""
        return replace(self, zswap_before=None) == replace(other, zswap_before=None) and (
            (self.zswap_before is None) == (other.zswap_before is None)
        )


def read_made(path: Path) -> Made | None:
    """The record; `None` without one. Raises `ValueError` if it cannot be read."""
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        before = found.pop("zswap_before")
        settings = None if before is None else tuple((str(n), str(v)) for n, v in before)
        return Made(**found, zswap_before=settings)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path} is not a record of `ocmt memory` ({error}).") from error


def as_text(made: Made) -> str:
    return json.dumps(asdict(made), indent=2) + "\n"
