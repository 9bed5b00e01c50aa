"""Reads the kernel's small text files, any of which may be missing."""

from pathlib import Path


def read_text(file: Path) -> str:
    """The file's text; empty if it is missing or may not be read."""
    try:
        return file.read_text()
    except OSError:
        return ""


def to_int(text: str) -> int:
    """The number in a file's text; zero if there is none (missing, or `max`)."""
    return int(text) if text.strip().isdigit() else 0


def counts(text: str) -> dict[str, int]:
    """Parse lines of a name and a number, such as `MemTotal:  123 kB` or `anon 123`."""
    found = {}
    for line in text.splitlines():
        fields = line.split()
        if len(fields) > 1 and fields[1].isdigit():
            found[fields[0].rstrip(":")] = int(fields[1])
    return found
