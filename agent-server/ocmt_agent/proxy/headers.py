"""Filters the headers that the proxy forwards. Ours replace the caller's credentials."""

import re
from collections.abc import Iterable

Raw = Iterable[tuple[bytes, bytes]]
Headers = list[tuple[str, str]]

# RFC 9110 section 7.6.1, and other headers that concern one hop only.
_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"expect",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
_CALLERS_OWN = _HOP_BY_HOP | {
    b"authorization",
    b"cookie",
    b"forwarded",
    b"host",
    b"origin",
    b"x-auth-token",
    b"x-openclaw-scopes",
    b"x-openclaw-token",
    b"x-real-ip",
}
_FORWARDING = b"x-forwarded-"
_ANSWERERS_OWN = _HOP_BY_HOP | {b"set-cookie", b"server", b"date"}
# Statuses without a body, which get no length.
_NO_BODY = frozenset({204, 205, 304})
# Invalid by RFC 9110 section 5.5; uvicorn raises for such a value.
_NO_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


def with_our_bearer(headers: Raw, token: str) -> Headers:
    """The caller's headers to forward, with `token` as the only credential."""
    kept = [
        (_text(name), _text(value))
        for name, value in _without(headers, _CALLERS_OWN)
        if not name.startswith(_FORWARDING)
    ]
    return [*kept, ("authorization", f"Bearer {token}")]


def to_caller(headers: Raw, *, status: int) -> list[tuple[bytes, bytes]]:
    """A response's headers for the caller, without cookies."""
    own = _ANSWERERS_OWN | {b"content-length"} if status in _NO_BODY else _ANSWERERS_OWN
    return [header for header in _without(headers, own) if _NO_VALUE.search(header[1]) is None]


def _without(headers: Raw, names: frozenset[bytes]) -> list[tuple[bytes, bytes]]:
    lowered = [(name.lower(), value) for name, value in headers]
    for name, value in lowered:
        if name == b"connection":
            names = names | {token.strip().lower() for token in value.split(b",")}
    return [(name, value) for name, value in lowered if name not in names]


def _text(raw: bytes) -> str:
    """Decode a header; the HTTP client encodes it as UTF-8, to the same bytes if it was valid."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")
