"""What OpenClaw says when it fails, in words that a person can act on."""

import re

DISK_FULL = (
    "The disk of the machine that runs your agent is full, so it could not answer. Operator: free "
    "some space there; no restart is needed. Then send it again."
)
# SQLite's and the system's own words (seen in 2026.9.6: "SqliteWorkerError: database or disk is
# full"), which say nothing to who chats.
_DISK_FULL = re.compile(r"disk is full|ENOSPC|no space left", re.IGNORECASE)


def plainly(code: str, said: str) -> tuple[str, str]:
    """The code and the words for the page."""
    return ("disk-full", DISK_FULL) if _DISK_FULL.search(said) else (code, said)
