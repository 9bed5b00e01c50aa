"""Reads the end of a log file."""

from pathlib import Path

_WINDOW_BYTES = 256 * 1024


def tail(path: Path, lines: int, start: int = 0) -> str:
    """The last `lines` lines of a file, from its last 256 KiB; empty if it cannot be read.

    Begins at the byte `start`, unless the file is shorter.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(start if start <= size else 0, size - _WINDOW_BYTES))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])
