"""Recognises loopback addresses, which some settings and checks treat differently."""

import ipaddress


def is_loopback(host: str | None) -> bool:
    """Whether a URL's host or an address to listen on is `localhost` or a loopback address."""
    bare = (host or "").strip("[]").lower()
    if bare == "localhost":
        return True
    try:
        return ipaddress.ip_address(bare).is_loopback
    except ValueError:
        return False
