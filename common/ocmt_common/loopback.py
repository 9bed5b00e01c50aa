"""Recognises loopback addresses, the only ones to which plain http is allowed."""

import ipaddress


def is_loopback(host: str | None) -> bool:
    """Whether a URL's host or an address to listen on is this machine's loopback."""
    bare = (host or "").strip("[]").lower()
    if bare == "localhost":
        return True
    try:
        return ipaddress.ip_address(bare).is_loopback
    except ValueError:
        return False
