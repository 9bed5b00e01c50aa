"""Parses and formats sizes of memory and disk: `64M`, `32G`, `8GB`, `1.5 GiB`."""

import re

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?\s*", re.IGNORECASE)
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


def parse_size(text: str) -> int:
    """Parse a size to bytes; units are powers of 1024. Raises `ValueError`."""
    found = _SIZE.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a size. Write it like 64M, 32G or 8GB.")
    return int(float(found[1]) * 1024 ** _POWERS[found[2].upper()])


def show_size(size_bytes: float) -> str:
    """Format a size, such as `31.5 GB` or `64 MB`; units are powers of 1024."""
    mb = size_bytes / 1024**2
    if mb >= 1024:
        return f"{mb / 1024:.1f}".removesuffix(".0") + " GB"
    return f"{mb:.0f} MB"
