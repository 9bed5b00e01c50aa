"""Asking a server whether it answers."""

import json
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import Any

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_TIMEOUT_S = 5


@dataclass(frozen=True, slots=True)
class Answer:
    """`status` is 0 when nothing answered; `body` is what came as JSON, else empty."""

    status: int
    body: Any = field(default_factory=dict)


def get(url: str, headers: dict[str, str] | None = None) -> Answer:
    """A GET on this machine, never through a proxy."""
    request = urllib.request.Request(url, headers=headers or {})  # noqa: S310 (always http://)
    try:
        with _DIRECT.open(request, timeout=_TIMEOUT_S) as response:
            return Answer(response.status, _json(response.read()))
    except urllib.error.HTTPError as error:
        return Answer(error.code, _json(error.read()))
    except (OSError, ValueError):
        return Answer(0)


def _json(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return {}
