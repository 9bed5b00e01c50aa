"""Decides which addresses may be dialled for a user. Pure."""

import ipaddress
from collections.abc import Iterable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_MORE_REFUSED = tuple(
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8",
        "100.64.0.0/10",  # carriers' and Tailscale's own; Alibaba's metadata
        "168.63.129.16/32",  # Azure's host
        "192.0.0.0/24",  # Oracle's metadata
        "192.88.99.0/24",
        "198.18.0.0/15",
        "fd00:ec2::/32",
    )
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")


def is_public(address: Address) -> bool:
    """Whether an address is public: not of this machine, a private network or cloud metadata.

    An IPv4 address embedded in IPv6 is checked as IPv4.
    """
    if isinstance(address, ipaddress.IPv6Address):
        inner = _inner(address)
        if inner is not None:
            return is_public(inner)
        if address in _LOCAL_NAT64 or address.is_site_local:
            return False
    if any(address.version == net.version and address in net for net in _MORE_REFUSED):
        return False
    return address.is_global and not (
        address.is_multicast or address.is_reserved or address.is_unspecified
    )


def is_allowed(host: str, addresses: Iterable[Address], allowed_hosts: frozenset[str]) -> bool:
    """Whether a host that resolves to these addresses may be dialled."""
    if host.lower().rstrip(".") in allowed_hosts:
        return True
    found = list(addresses)
    return bool(found) and all(map(is_public, found))


def _inner(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    # ::a.b.c.d, deprecated but accepted by some systems
    if 1 < int(address) <= 0xFFFFFFFF:
        return ipaddress.IPv4Address(int(address))
    return None
