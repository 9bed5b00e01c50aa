"""Parses `[firewall] allow` of the inventory: ports and networks to allow. Pure."""

import ipaddress
import re
from dataclasses import dataclass
from typing import Literal

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Protocol = Literal["tcp", "udp"]
_HOW = (
    'write a port ("9100/tcp", "60000-61000/udp"), a network ("192.168.1.0/24"), or both '
    '("9100/tcp from 192.168.1.0/24")'
)
_PORTS = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?/(tcp|udp)")


@dataclass(frozen=True, slots=True)
class Ports:
    """Ports from `first` to `last`, inclusive."""

    first: int
    last: int
    protocol: Protocol

    def __str__(self) -> str:
        port = f"{self.first}" if self.first == self.last else f"{self.first}-{self.last}"
        return f"{port}/{self.protocol}"


@dataclass(frozen=True, slots=True)
class Allowed:
    """Allowed connections. `str()` is the inventory's form."""

    ports: Ports | None
    """`None` for all ports and protocols."""
    source: Network | None = None
    """`None` for any source."""

    def __str__(self) -> str:
        if self.source is None:
            return str(self.ports)
        source = _in_words(self.source)
        return source if self.ports is None else f"{self.ports} from {source}"

    def rule(self) -> str:
        """The rule as a line of an nftables chain."""
        words = []
        if self.source is not None:
            family = "ip6" if self.source.version == 6 else "ip"
            words.append(f"{family} saddr {_in_words(self.source)}")
        if self.ports is not None:
            port = str(self.ports).partition("/")[0]
            words.append(f"{self.ports.protocol} dport {port}")
        return " ".join((*words, "accept"))


def port(number: int, protocol: Protocol, source: Network | None = None) -> Allowed:
    return Allowed(Ports(number, number, protocol), source)


def _in_words(network: Network) -> str:
    single = network.prefixlen == network.max_prefixlen
    return str(network.network_address if single else network)


def parse(text: object) -> Allowed:
    """Parse an entry. Raises `ValueError` that shows the valid forms."""
    if not isinstance(text, str):
        raise ValueError(f"is not a string: {_HOW}")
    ports, word, source = text.strip().partition(" from ")
    if word:
        return Allowed(_ports(ports.strip(), text), _network(source.strip(), text))
    if "/" in ports and ports.rpartition("/")[2].isalpha():
        return Allowed(_ports(ports, text))
    return Allowed(None, _network(ports, text))


def _ports(word: str, text: str) -> Ports:
    found = _PORTS.fullmatch(word)
    if found is None:
        raise ValueError(f"{text!r} is not valid: {_HOW}")
    first, last = int(found[1]), int(found[2] or found[1])
    if not 1 <= first <= last <= 65535:
        raise ValueError(f"{text!r}: ports are 1 to 65535, the lower one first")
    return Ports(first, last, "udp" if found[3] == "udp" else "tcp")


def _network(word: str, text: str) -> Network:
    try:
        whole = ipaddress.ip_network(word, strict=False)
    except ValueError:
        raise ValueError(f"{text!r} is not valid: {_HOW}") from None
    if "/" in word and str(whole.network_address) != str(
        ipaddress.ip_address(word.partition("/")[0])
    ):
        raise ValueError(f"{text!r}: {word} is an address in a network; write {whole}")
    return whole
