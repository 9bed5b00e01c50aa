"""Which addresses are this machine's own: plain http is allowed only to those."""

import ipaddress


def is_loopback(host: str | None) -> bool:
    """Whether a host of a URL, or an address to listen on, is this machine itself."""
    bare = (host or "").strip("[]").lower()
    if bare == "localhost":
        return True
    try:
        return ipaddress.ip_address(bare).is_loopback
    except ValueError:
        return False
