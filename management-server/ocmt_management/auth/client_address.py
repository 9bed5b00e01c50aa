"""Who makes a request, as far as its network address tells: what attempts are counted against."""

from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network

from starlette.requests import HTTPConnection


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    client: str
    """An IPv4 address, or the /64 network an IPv6 customer has."""
    network: str
    """The neighbourhood one party can easily have more addresses of: IPv4 /24, IPv6 /48."""


def asker_of(connection: HTTPConnection) -> Asker:
    return asker_at(connection.client.host if connection.client else "unknown")


def asker_at(host: str) -> Asker:
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return Asker(client=host, network=host)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        # Some proxies write IPv4 so; the network of those would be everybody's.
        address = address.ipv4_mapped
    client, network = (64, 48) if isinstance(address, IPv6Address) else (32, 24)
    return Asker(client=_network(address, client), network=_network(address, network))


def _network(address: object, bits: int) -> str:
    return str(ip_network(f"{address}/{bits}", strict=False))
