"""Replaces OpenClaw's error messages by texts the user can act on."""

import re

DISK_FULL = (
    "The disk of the machine that runs your agent is full, so it could not answer. Operator: free "
    "some space there; no restart is needed. Then send it again."
)
# Messages of SQLite and the system (seen in 2026.9.6: "SqliteWorkerError: database or disk is
# full").
_DISK_FULL = re.compile(r"disk is full|ENOSPC|no space left", re.IGNORECASE)


def for_page(code: str, message: str) -> tuple[str, str]:
    """The code and the text for the page."""
    return ("disk-full", DISK_FULL) if _DISK_FULL.search(message) else (code, message)
