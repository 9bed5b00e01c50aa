"""Requests to the servers on this machine."""

import json
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import Any

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_TIMEOUT_S = 5


@dataclass(frozen=True, slots=True)
class Answer:
    """`status` is 0 without an answer; `body` is the JSON object, else empty."""

    status: int
    body: Any = field(default_factory=dict)


def get(url: str, headers: dict[str, str] | None = None) -> Answer:
    """GET an address of this machine, ignoring the environment's proxies."""
    return _answer(url, headers or {}, "GET", _TIMEOUT_S)


def post(url: str, headers: dict[str, str], *, timeout_s: float) -> Answer:
    """POST without a body to an address of this machine, ignoring the environment's proxies."""
    return _answer(url, headers, "POST", timeout_s)


def _answer(url: str, headers: dict[str, str], method: str, timeout_s: float) -> Answer:
    request = urllib.request.Request(url, headers=headers, method=method)  # noqa: S310 (always http://)
    try:
        with _DIRECT.open(request, timeout=timeout_s) as response:
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
