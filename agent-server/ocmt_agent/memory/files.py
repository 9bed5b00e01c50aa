"""Reading the kernel's small text files, of which any may be missing."""

from pathlib import Path


def read_text(file: Path) -> str:
    """Its text, or nothing where the kernel or our rights do not offer it."""
    try:
        return file.read_text()
    except OSError:
        return ""


def to_int(text: str) -> int:
    """A file that holds one number; zero when it holds none (missing, or `max`)."""
    return int(text) if text.strip().isdigit() else 0


def counts(text: str) -> dict[str, int]:
    """Lines of a name and a number (`MemTotal:  123 kB`, `anon 123`), the first number each."""
    found = {}
    for line in text.splitlines():
        fields = line.split()
        if len(fields) > 1 and fields[1].isdigit():
            found[fields[0].rstrip(":")] = int(fields[1])
    return found
