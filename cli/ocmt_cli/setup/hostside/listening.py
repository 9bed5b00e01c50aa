"""Finds the ports and IP protocols that are reachable from outside, and their programs."""

import contextlib
import ipaddress
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

# `st` of /proc/net/tcp (proc(5)): TCP_LISTEN, and TCP_CLOSE, the state of datagram sockets without
# a peer.
_TABLES = (
    ("tcp", "tcp", "0A"), ("tcp6", "tcp", "0A"), ("udp", "udp", "07"), ("udp6", "udp", "07"),
    ("udplite", "udplite", "07"), ("udplite6", "udplite", "07"),
    # Raw sockets, with the IP protocol as port: VRRP, OSPF, GRE, …
    ("raw", "ip", "07"), ("raw6", "ip", "07"),
)  # fmt: skip
# Protocols that are allowed, covered by their ports, or only for sending.
_NOT_TOLD = {
    (socket.IPPROTO_ICMP, "ip"),
    (socket.IPPROTO_ICMPV6, "ip"),
    (socket.IPPROTO_TCP, "ip"),
    (socket.IPPROTO_UDP, "ip"),
    (socket.IPPROTO_RAW, "ip"),
}
_DOCKERS_PROXY = "docker-proxy"


class Listening(TypedDict):
    port: int
    protocol: str
    program: str
    """Empty for the kernel's own ports (WireGuard, NFS)."""


def listening(proc: Path = Path("/proc")) -> list[Listening]:
    """The ports and IP protocols that other machines can reach, sorted.

    Leaves out loopback, and containers' IPv4 ports, which are forwarded.
    """
    programs = _programs(proc)
    found: dict[tuple[int, str], str] = {}
    for table, protocol, state in _TABLES:
        for address, port, inode in _sockets(proc / "net" / table, state):
            program = programs.get(inode, "")
            if address.is_loopback or (program == _DOCKERS_PROXY and address.version == 4):
                continue
            if (port, protocol) in _NOT_TOLD:
                continue
            found[port, protocol] = found.get((port, protocol)) or program
    return [
        {"port": port, "protocol": protocol, "program": program}
        for (port, protocol), program in sorted(found.items())
    ]


def _sockets(
    table: Path, state: str
) -> Iterator[tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int, str]]:
    try:
        lines = table.read_text().splitlines()[1:]
    except OSError:  # no IPv6
        return
    for words in map(str.split, lines):
        if words[3] != state:
            continue
        number, _, port = words[1].partition(":")
        address = ipaddress.ip_address(_in_network_order(bytes.fromhex(number)))
        if isinstance(address, ipaddress.IPv6Address):
            address = address.ipv4_mapped or address
        yield address, int(port, 16), words[9]


def _in_network_order(raw: bytes) -> bytes:
    """Reorder an address of /proc/net, whose 32-bit words are in the machine's byte order."""
    step = -1 if sys.byteorder == "little" else 1
    return b"".join(raw[at : at + 4][::step] for at in range(0, len(raw), 4))


def _programs(proc: Path) -> dict[str, str]:
    """Socket inode → program; systemd only if no other program has the socket."""
    found: dict[str, str] = {}
    for folder in proc.iterdir():
        if not folder.name.isdecimal():
            continue
        # Processes may end or close files meanwhile.
        with contextlib.suppress(OSError):
            name = (folder / "comm").read_text().strip()
            for inode in _held(folder / "fd"):
                if found.get(inode, "systemd") == "systemd":
                    found[inode] = name
    return found


def _held(folder: Path) -> Iterator[str]:
    for descriptor in folder.iterdir():
        with contextlib.suppress(OSError):
            link = str(descriptor.readlink())
            if link.startswith("socket:["):
                yield link.removeprefix("socket:[").removesuffix("]")
