"""The frames of OpenClaw's gateway protocol that both servers write.

Source: OpenClaw's page `gateway/protocol/transport.md`; the protocol has a version. Frames begin
with `type` and `id`, so that the proxy recognises most of them without parsing.
"""

import json
from typing import Any

PROTOCOL = 4
CHALLENGE = "connect.challenge"
"""The event that a gateway sends first."""


def client(version: str) -> dict[str, str]:
    """The `client` parameter of `connect`."""
    return {"id": "gateway-client", "version": version, "platform": "linux", "mode": "backend"}


def request(request_id: str, method: str, params: dict[str, Any]) -> str:
    return _compact({"type": "req", "id": request_id, "method": method, "params": params})


def event(name: str, payload: dict[str, Any]) -> str:
    return _compact({"type": "event", "event": name, "payload": payload})


def answer(request_id: str, payload: dict[str, Any]) -> str:
    return _compact({"type": "res", "id": request_id, "ok": True, "payload": payload})


def refusal(request_id: str, message: str, *, retry_after_s: int | None = None) -> str:
    """The gateway's error response to a call that may be retried later."""
    error: dict[str, Any] = {"code": "UNAVAILABLE", "message": message, "retryable": True}
    if retry_after_s is not None:
        error["retryAfterMs"] = retry_after_s * 1000
    return _compact({"type": "res", "id": request_id, "ok": False, "error": error})


def as_object(value: object) -> dict[str, Any]:
    """`value` if it is a JSON object, else an empty one, since frames may hold anything."""
    return value if isinstance(value, dict) else {}


def _compact(frame: dict[str, Any]) -> str:
    return json.dumps(frame, separators=(",", ":"))
