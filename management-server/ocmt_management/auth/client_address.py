"""The client addresses and networks that rate limits are counted by."""

from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network

from starlette.requests import HTTPConnection


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientAddress:
    host: str
    """An IPv4 address, or the /64 network of an IPv6 address, which one customer controls."""
    network: str
    """The network in which one party can easily change addresses: IPv4 /24, IPv6 /48."""


def client_address_of(connection: HTTPConnection) -> ClientAddress:
    return client_address(connection.client.host if connection.client else "unknown")


def client_address(host: str) -> ClientAddress:
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return ClientAddress(host=host, network=host)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        # Some proxies map IPv4 into IPv6, where all clients would share one network.
        address = address.ipv4_mapped
    host_bits, network_bits = (64, 48) if isinstance(address, IPv6Address) else (32, 24)
    return ClientAddress(host=_network(address, host_bits), network=_network(address, network_bits))


def _network(address: object, bits: int) -> str:
    return str(ip_network(f"{address}/{bits}", strict=False))
