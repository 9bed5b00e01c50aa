"""What `ocmt memory enable` made, so that `disable` removes exactly that and nothing else."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Made:
    """Written before the first change: an enable that was cut short can be finished or undone."""

    file: str | None
    """The swap file; `None` for no swap on disk."""
    file_bytes: int
    encrypted: bool
    zram_bytes: int
    """Size of the compressed device, before compression; 0 for none."""
    zswap_before: tuple[tuple[str, str], ...] | None
    """zswap's settings before we changed them; `None` when we did not."""

    def same_wish(self, other: "Made") -> bool:
        """Whether both ask for the same, whatever zswap was set to before."""
        return replace(self, zswap_before=None) == replace(other, zswap_before=None) and (
            (self.zswap_before is None) == (other.zswap_before is None)
        )


def read_made(path: Path) -> Made | None:
    """Raises `ValueError` for a file that is not ours or from another release."""
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
