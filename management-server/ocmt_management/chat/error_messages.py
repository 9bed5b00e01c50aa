"""Replaces OpenClaw's error messages with texts that the user can act on."""

import re

DISK_FULL = (
    "The disk of the machine that runs your agent is full, so it could not answer. Operator: free "
    "some space there; no restart is needed. Then send your message again."
)
# Messages of SQLite and the system (seen in 2026.9.6: "SqliteWorkerError: database or disk is
# full").
_DISK_FULL = re.compile(r"disk is full|ENOSPC|no space left", re.IGNORECASE)

_NO_REASON = "Your agent could not answer. Send your message again."
# OpenClaw's notices after a failed turn, such as "⚠️ LLM request failed (rate limited, HTTP 429)."
# `/llm` answers 424 if the user's key or their account with the provider is the reason.
_NOTICES = (
    (
        r"\bHTTP 424\b|authenticat|\bHTTP 40[123]\b|billing",
        "model-refused",
        "Your model provider did not accept the request. Check your key and your model in the "
        "settings, and your account with the provider. Then send your message again.",
    ),
    (
        r"rate limited|\bHTTP 429\b",
        "model-limits",
        "Your model provider’s rate limit was reached. Wait a minute, then send your message "
        "again.",
    ),
    (
        r"overloaded|internal error|timed out|timeout|\bHTTP (?:408|5\d\d)\b",
        "model-trouble",
        "Your model provider had a problem. Send your message again in a moment.",
    ),
    (
        r"context limit|context overflow",
        "conversation-too-long",
        "The conversation has become too long for your model. Choose a model with a larger "
        "context, or send /compact to have your agent shorten it.",
    ),
    (
        r"model not found|\bHTTP 404\b",
        "model-unknown",
        "Your model provider does not have the model you chose. Choose another in the settings, "
        "then send your message again.",
    ),
)
_SIGN = re.compile(r"^\s*⚠️?\s*")

# Of files: OpenClaw's texts name each by its label and say what is wrong (2026.9.6).
_FILES = (
    (
        r"image exceeds size limit",
        "Pictures can have 6 MB each. Make it smaller, then send it again.",
    ),
    (
        r"exceeds size limit",
        "This file is too large for your agent. Make it smaller, or put it into its workspace "
        "under Agent → Files.",
    ),
    (
        r"empty payload",
        "One of the files is empty. Remove it, then send your message again.",
    ),
    (
        r"attachments? .*(?:not supported|does not accept)",
        "Your agent does not take a file of this type here. Put it into its workspace under "
        "Agent → Files, and say where it is.",
    ),
)

STOPPED = "You stopped your agent before it read this message."
# The error for a message that is stopped before the gateway has accepted it.
_STOPPED = re.compile(r"admission ended or was cancelled", re.IGNORECASE)


def for_page(code: str, message: str) -> tuple[str, str]:
    """`(code, text)` that the page shows for an error of OpenClaw."""
    if _STOPPED.search(message):
        return "agent-stopped", STOPPED
    for pattern, detail in _FILES:
        if "attachment" in message and re.search(pattern, message, re.IGNORECASE):
            return code, detail
    return ("disk-full", DISK_FULL) if _DISK_FULL.search(message) else (code, message)


def of_run(message: str) -> tuple[str, str]:
    """Like `for_page`, for the notice of a failed turn, which may be empty."""
    for pattern, code, detail in _NOTICES:
        if re.search(pattern, message, re.IGNORECASE):
            return code, detail
    return for_page("run-failed", _SIGN.sub("", message).strip() or _NO_REASON)
