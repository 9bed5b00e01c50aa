"""The frames of OpenClaw's protocol that the proxy recognises or writes itself. Pure."""

import json
import re
from typing import Any

from ocmt_common import bounded_json
from ocmt_common.gateway_frames import CHALLENGE, event

MAX_ID_CHARS = 200
"""Requests with longer ids are forwarded, but never answered by the proxy itself."""

# Frames begin with type and id, so most of them, and all long ones, need no parsing.
_ID = rf'"id":\s?("(?:[^"\\]|\\.){{0,{MAX_ID_CHARS * 6}}}")'
_REQUEST = re.compile(rf'\{{"type":\s?"req",\s?{_ID}')
_ANSWER = re.compile(rf'\{{"type":"res",{_ID}')
# A quote within a JSON string is escaped, so no text of a conversation matches these.
_HEAD_CHARS = 2000
_SEND = re.compile(r'"method":\s?"chat\.send"')
_RUN = re.compile(rf'"runId":\s?("[^"\\]{{1,{MAX_ID_CHARS}}}")')
_END = re.compile(r'"state":"(?:final|aborted|error)"')


def parsed(text: str) -> dict[str, Any]:
    """Parse a frame; empty if `text` is not a JSON object."""
    try:
        frame = bounded_json.read(text)
    except bounded_json.NotJson:
        return {}
    return frame if isinstance(frame, dict) else {}


def request_id(text: str) -> str | None:
    """The id of a caller's request; `None` for other frames, and if the id is too long."""
    match = _REQUEST.match(text)
    if match is not None:
        found = _string(match[1])
    else:
        frame = parsed(text)
        found = frame.get("id") if frame.get("type") == "req" else None
    return found if isinstance(found, str) and len(found) <= MAX_ID_CHARS else None


def answered_id(text: str) -> str | None:
    """The id of the request that a gateway's frame answers; `None` for other frames."""
    match = _ANSWER.match(text)
    return None if match is None else _string(match[1])


def _string(literal: str) -> str | None:
    try:
        return str(json.loads(literal))
    except ValueError:
        return None


def is_shutdown(text: str) -> bool:
    """Whether this frame announces the gateway's shutdown."""
    return text.startswith('{"type":"event","event":"shutdown"')


def is_message(text: str) -> bool:
    """Whether a caller's request is a message of the user's, which begins a run of the agent."""
    return _SEND.search(text, 0, _HEAD_CHARS) is not None


def run_id(text: str) -> str | None:
    """The id of the run that a gateway's frame is about, as far as its first fields say."""
    match = _RUN.search(text, 0, _HEAD_CHARS)
    return None if match is None else _string(match[1])


def ends_run(text: str) -> bool:
    """Whether this event ends a run: its answer is complete, failed or was aborted."""
    chat = text.startswith('{"type":"event","event":"chat"')
    return chat and _END.search(text, 0, _HEAD_CHARS) is not None


def challenge(*, nonce: str, at_ms: int) -> str:
    return event(CHALLENGE, {"nonce": nonce, "ts": at_ms})


def shutdown(reason: str) -> str:
    return event("shutdown", {"reason": reason})
