"""Ports for servers that tests start, so that two test runs on one machine do not collide."""

import random
import socket

from ocmt_cli.ports import free_base


def free_ports(count: int = 1) -> list[int]:
    """Ports that the system has just assigned and that are free again."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def free_port_base() -> int:
    """A port P with P, P+1000 and P+1001 free: management, agent server, relay.

    Chosen at random, below those that the system assigns to connections.
    """
    return free_base(random.randrange(20_000, 25_000))
