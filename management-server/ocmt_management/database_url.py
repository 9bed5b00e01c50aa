"""Parses DATABASE_URL, in the forms of libpq and hosted databases, for the async drivers.

Unsupported parameters are rejected at startup, with what to write instead.
"""

import re
import ssl

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

ROOT_CERTIFICATE = "sslrootcert"
_KNOWN = frozenset(
    {"host", "port", "ssl", "sslmode", ROOT_CERTIFICATE, "channel_binding", "target_session_attrs"}
)
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_VERIFYING = ("require", "verify-ca", "verify-full")
_SESSIONS = ("any", "primary", "standby", "read-write", "read-only", "prefer-standby")
_WRITABLE = ("any", "primary", "read-write")
_PARTS = re.compile(r"(\w+://)([^/?#]*)(.*)", re.DOTALL)
_ONE_HOST = re.compile(r"([A-Za-z0-9.-]+)(?::(\d{1,5}))?")


def parse_database_url(text: str) -> URL:
    """Parse a `sqlite:` or `postgresql:` address and add its async driver. Raises `ValueError`."""
    several = ""
    if parts := _PARTS.fullmatch(text):
        credentials, at, hosts = parts[2].rpartition("@")
        if "," in hosts:
            several, text = hosts, f"{parts[1]}{credentials}{at}{parts[3]}"
    try:
        url = make_url(text)
    except (ArgumentError, ValueError) as error:
        raise ValueError(
            "is not a database address, such as postgresql://USER:PASSWORD@HOST:5432/NAME"
        ) from error
    backend = url.drivername.partition("+")[0]
    if backend in ("postgresql", "postgres"):
        return _postgresql(url, several)
    if backend == "sqlite":
        if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
            raise ValueError("needs a plain file, such as sqlite:////var/lib/ocmt/management.db")
        return url.set(drivername="sqlite+aiosqlite", query={})
    raise ValueError("is neither sqlite: nor postgresql:")


def tls_context(url: URL) -> ssl.SSLContext | None:
    """A TLS context that trusts `sslrootcert`, a file or `system`; `None` if it is not set.

    Raises `ValueError` if the file cannot be read or has no certificate.
    """
    root = url.query.get(ROOT_CERTIFICATE)
    if root is None:
        return None
    try:
        context = ssl.create_default_context(cafile=None if root == "system" else str(root))
    except (OSError, ssl.SSLError) as error:
        raise ValueError(
            f"names the sslrootcert {root}, which cannot be used ({error}); it must be a readable "
            "file of PEM certificates, or `system`"
        ) from error
    context.check_hostname = url.query["ssl"] == "verify-full"
    return context


def _postgresql(url: URL, several: str) -> URL:
    given = {name: value for name, value in url.query.items() if isinstance(value, str)}
    for name in url.query:
        if name not in _KNOWN:
            raise ValueError(f"has the parameter {name}, which is not supported; leave it out")
    if given.pop("channel_binding", "prefer") not in ("prefer", "disable"):
        raise ValueError(
            "requires channel_binding, which is not supported; write "
            "sslmode=verify-full&sslrootcert=system instead, which prevents the same attack"
        )
    mode = given.pop("sslmode", given.get("ssl"))
    if mode is not None and mode not in _SSL_MODES:
        raise ValueError(f"needs one of {', '.join(_SSL_MODES)} as its sslmode")
    if ROOT_CERTIFICATE in given and mode not in _VERIFYING:
        raise ValueError("has an sslrootcert, which needs sslmode=verify-full beside it")
    wanted = given.get("target_session_attrs", "read-write")
    if wanted not in _WRITABLE:
        known = "does not select a writable server" if wanted in _SESSIONS else "is not known"
        raise ValueError(f"has target_session_attrs={wanted}, which {known}; leave it out")
    query: dict[str, str | tuple[str, ...]] = {**url.query, **given}
    for name in ("sslmode", "channel_binding"):
        query.pop(name, None)
    if mode is not None:
        query["ssl"] = mode
    if several:
        query["host"] = tuple(_host(one) for one in several.split(","))
        # Of several hosts, connect to the writable one.
        query.setdefault("target_session_attrs", "read-write")
    found = url.set(drivername="postgresql+asyncpg", query=query)
    tls_context(found)
    return found


def _host(text: str) -> str:
    found = _ONE_HOST.fullmatch(text)
    if found is None or int(found[2] or 5432) > 65535:
        raise ValueError(
            "has several hosts, and one is not a name or an IPv4 address, optionally with a port; "
            "write postgresql://USER:PASSWORD@one:5432,two:5432/NAME"
        )
    return f"{found[1]}:{found[2] or 5432}"
