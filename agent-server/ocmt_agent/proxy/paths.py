"""Decides which of a gateway's paths the proxy may forward to, by the raw bytes.

It is an allow-list of literal paths, so that no spelling of a path reaches the gateway's admin
calls, its control page or its plugins. The gateway would resolve `/v1/../api/v1/admin/rpc` to its
admin calls.
"""

import re

from ocmt_common.problems import Problem

ALLOWED = frozenset({"healthz", "readyz", "startupz", "v1"})
"""Allowed first segments: the probes and the OpenAI-compatible API."""
_SENT_FILES = ["api", "chat", "media", "outgoing"]
"""Leading segments of the files that an agent sent in a chat."""

# One segment, without slashes or backslashes in any spelling, dots alone, or control characters.
_FORBIDDEN_ESCAPES = re.compile(r"%(?:2f|5c|2e|25|00|0[0-9a-f]|1[0-9a-f]|7f)", re.IGNORECASE)
_PLAIN = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@%/-]*")
_PLAIN_QUERY = re.compile(r"[!-~]*")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


def gateway_path(raw_path: bytes, *, user_id: str) -> str:
    """The part of the path after `/api/containers/{user_id}/proxy/`, without a leading slash.

    Raises a 400 `Problem` for an ambiguous path, or a 404 for a path that is not allowed.
    """
    prefix = f"/api/containers/{user_id}/proxy/"
    text = raw_path.decode("ascii", errors="replace")
    if not text.startswith(prefix):
        raise _ambiguous()
    path = text.removeprefix(prefix)
    segments = path.split("/")
    if (
        _PLAIN.fullmatch(path) is None
        or _FORBIDDEN_ESCAPES.search(path)
        or _BROKEN_ESCAPE.search(path)
        or "" in segments[:-1]
        or any(segment in (".", "..") for segment in segments)
    ):
        raise _ambiguous()
    if path and segments[0] not in ALLOWED and segments[:4] != _SENT_FILES:
        reached = ", ".join(sorted(ALLOWED))
        raise Problem(
            404,
            "no-such-path",
            f"The proxy forwards only to {reached}, the files that an agent sent, and the socket.",
        )
    return path


def plain_query(query: bytes) -> str:
    """The query with its question mark, or "". Raises a 400 `Problem` if it is not plain ASCII."""
    text = query.decode("ascii", errors="replace")
    if _PLAIN_QUERY.fullmatch(text) is None:
        raise Problem(400, "ambiguous-query", "Percent-encode the query: plain characters only.")
    return f"?{text}" if text else ""


def _ambiguous() -> Problem:
    return Problem(
        400,
        "ambiguous-path",
        "Send a plain path: no empty or dot segments, no encoded slashes, dots or percent signs.",
    )
