"""Requests to the servers on this machine."""

import ssl
from dataclasses import dataclass, field
from typing import Any

import httpx2

# An empty context, since it is not used and loading the system's certificates is slow.
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
_TIMEOUT_S = 5


@dataclass(frozen=True, slots=True)
class Answer:
    """A server's answer. `status` is 0 without one; `body` is the parsed JSON, or `{}`."""

    status: int
    body: Any = field(default_factory=dict)


def get(url: str, headers: dict[str, str] | None = None) -> Answer:
    """GET an http address of this machine, without the environment's proxies; waits up to 5 s."""
    return _answer(url, headers or {}, "GET", _TIMEOUT_S)


def post(url: str, headers: dict[str, str], *, timeout_s: float) -> Answer:
    """POST without a body, otherwise like `get`."""
    return _answer(url, headers, "POST", timeout_s)


def _answer(url: str, headers: dict[str, str], method: str, timeout_s: float) -> Answer:
    try:
        response = httpx2.request(
            method, url, headers=headers, timeout=timeout_s, trust_env=False, verify=_NO_TLS
        )
    except (httpx2.HTTPError, OSError):
        return Answer(0)
    return Answer(response.status_code, _json(response))


def _json(response: httpx2.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return {}
