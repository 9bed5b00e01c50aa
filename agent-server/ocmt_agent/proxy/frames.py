"""The few frames of OpenClaw's protocol that the proxy reads or makes itself. Pure.

Shapes from OpenClaw's page `gateway/protocol/transport.md`.
"""

import json
import re
from typing import Any

MAX_ID_CHARS = 200
"""Longer request ids are passed on, but an answer for them is never made up here."""

# The gateway writes an answer's type and id first: most frames, and long answers, are never parsed.
_ANSWER = re.compile(r'\{"type":"res","id":("(?:[^"\\]|\\.)*")')


def parsed(text: str) -> dict[str, Any]:
    """`text` as a frame; an empty one for anything that is not a JSON object."""
    try:
        frame = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return frame if isinstance(frame, dict) else {}


def request_id(text: str) -> str | None:
    """The id under which a caller's frame awaits an answer."""
    frame = parsed(text)
    found = frame.get("id")
    if frame.get("type") == "req" and isinstance(found, str) and len(found) <= MAX_ID_CHARS:
        return found
    return None


def answered_id(text: str) -> str | None:
    """The id of the request that a gateway's frame answers."""
    match = _ANSWER.match(text)
    if match is None:
        return None
    try:
        return str(json.loads(match[1]))
    except ValueError:
        return None


def is_shutdown(text: str) -> bool:
    """Whether the gateway announces its own end."""
    return text.startswith('{"type":"event","event":"shutdown"')


def challenge(*, nonce: str, at_ms: int) -> str:
    return event("connect.challenge", {"nonce": nonce, "ts": at_ms})


def shutdown(reason: str) -> str:
    return event("shutdown", {"reason": reason})


def event(name: str, payload: dict[str, Any]) -> str:
    return _compact({"type": "event", "event": name, "payload": payload})


def answer(request: str, payload: dict[str, Any]) -> str:
    return _compact({"type": "res", "id": request, "ok": True, "payload": payload})


def refusal(request: str, message: str, *, retry_after_s: int | None = None) -> str:
    """The gateway's own way to say: not now, ask again."""
    error: dict[str, Any] = {"code": "UNAVAILABLE", "message": message, "retryable": True}
    if retry_after_s is not None:
        error["retryAfterMs"] = retry_after_s * 1000
    return _compact({"type": "res", "id": request, "ok": False, "error": error})


def _compact(frame: dict[str, Any]) -> str:
    return json.dumps(frame, separators=(",", ":"))
