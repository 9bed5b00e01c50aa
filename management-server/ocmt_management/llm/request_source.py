"""Finds a request's source in its last user message: chat, job, dreaming or heartbeat.

OpenClaw does not send the source, but the messages of each hold a fixed text (seen in 2026.9.6).
If a user writes such a text, only the source of that request is wrong.
"""

from enum import StrEnum

from msgspec import Raw

_LOOKED_AT = 4096
_MOST_TOOL_RESULTS = 64
_USER = (b'"role":"user"', b'"role": "user"')


class Source(StrEnum):
    CHAT = "chat"
    JOB = "job"
    DREAMING = "dreaming"
    HEARTBEAT = "heartbeat"


_MARKS = (
    (b"Write a dream diary entry from these memory fragments", Source.DREAMING),
    (b"__openclaw_memory_core_short_term_promotion_dream__", Source.DREAMING),
    (b"Follow the heartbeat monitor scratch context", Source.HEARTBEAT),
    (b"[cron:", Source.JOB),
)


def source_of(messages: Raw | bytes) -> Source:
    """The source of a request. `messages` is its list as JSON; only the end is searched."""
    text = bytes(messages)
    end = len(text)
    for _ in range(_MOST_TOOL_RESULTS):
        start = max(text.rfind(mark, 0, end) for mark in _USER)
        if start < 0:
            break
        message = text[start : min(end, start + _LOOKED_AT)]
        # In Anthropic's shape, tool results are user messages.
        if b'"tool_result"' not in message[:200]:
            return next((source for mark, source in _MARKS if mark in message), Source.CHAT)
        end = start
    return Source.CHAT
