"""Which headers cross the proxy. Credentials never do: ours are put in, theirs are taken out."""

from collections.abc import Iterable

Headers = list[tuple[str, str]]

# RFC 9110 section 7.6.1, and what belongs to one hop by custom.
_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_CALLERS_OWN = frozenset(
    {
        "authorization",
        "cookie",
        "expect",
        "forwarded",
        "host",
        "origin",
        "x-auth-token",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-openclaw-scopes",
        "x-real-ip",
    }
)
_ANSWERERS_OWN = frozenset({"set-cookie", "server", "date"})

Raw = Iterable[tuple[bytes, bytes]]


def to_gateway(headers: Raw, *, gateway_token: str) -> Headers:
    """A caller's headers as the gateway gets them, with our credential."""
    return [*_without(headers, _CALLERS_OWN), ("authorization", f"Bearer {gateway_token}")]


def to_management(headers: Raw) -> Headers:
    """An agent's headers as management gets them: its own bearer token and nothing else of ours."""
    return _without(headers, _CALLERS_OWN - {"authorization"})


def to_caller(headers: Raw) -> list[tuple[bytes, bytes]]:
    """An answer's headers as the caller gets them; nobody behind the proxy sets its cookies."""
    return [
        (n.encode("latin-1"), v.encode("latin-1")) for n, v in _without(headers, _ANSWERERS_OWN)
    ]


def _without(headers: Raw, names: frozenset[str]) -> Headers:
    decoded = [(n.decode("latin-1").lower(), v.decode("latin-1")) for n, v in headers]
    named = {
        token.strip().lower()
        for name, value in decoded
        if name == "connection"
        for token in value.split(",")
    }
    dropped = _HOP_BY_HOP | names | named
    return [(name, value) for name, value in decoded if name not in dropped]
