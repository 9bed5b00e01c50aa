"""Tells from a request's last message of a user why the agent asks: a chat, a job, dreaming, a
heartbeat.

OpenClaw names no reason; it begins such messages in ways of its own (seen in 2026.9.6). A user may
write the same, which counts their own message under another name and nothing else.
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
    """`messages` is the request's list as JSON; only its end is looked at."""
    text = bytes(messages)
    end = len(text)
    for _ in range(_MOST_TOOL_RESULTS):
        start = max(text.rfind(mark, 0, end) for mark in _USER)
        if start < 0:
            break
        message = text[start : min(end, start + _LOOKED_AT)]
        # In Anthropic's shape the results of tools are messages of the user.
        if b'"tool_result"' not in message[:200]:
            return next((source for mark, source in _MARKS if mark in message), Source.CHAT)
        end = start
    return Source.CHAT
