"""The firewall, loaded in network namespaces of the test."""

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from ocmt_cli.deploy.inventory import load_inventory
from ocmt_cli.setup import firewall

pytestmark = pytest.mark.needs("root", "ip", "nft")

HOST, CONTAINER = "10.213.0.1", "10.213.0.2"
HOST_6, CONTAINER_6 = "2001:db8:213::1", "2001:db8:213::2"
NEIGHBOUR, INTERNET, INTERNET_6 = "10.9.0.2", "198.51.100.7", "2001:db8:7::7"
RESOLVER, RESOLVER_6, GOOGLES_RESOLVER = "10.9.0.3", "fd00:9::3", "169.254.169.254"
MANAGEMENT_HOST = "198.51.100.12"
METADATA = (
    "168.63.129.16",  # Azure's WireServer
    "100.100.100.200",  # Alibaba
    "192.0.0.192",  # Oracle
    "fd00:ec2::254",  # AWS
    "fd20:ce::254",  # Google
)
INNER = (
    NEIGHBOUR,
    "100.64.3.3",
    "172.20.3.3",
    "192.168.3.3",
    "198.18.3.3",
    "fd12::3",
    "fec0::3",
    "64:ff9b::a09:2",  # NEIGHBOUR by NAT64
    "2002:a09:2::3",  # NEIGHBOUR by 6to4
)
FOUND = """
import asyncio, json, sys
async def found(address, port):
    try:
        async with asyncio.timeout(0.5):
            (await asyncio.open_connection(address, port))[1].close()
    except (OSError, TimeoutError):
        return False
    return True
async def main(asked):
    answers = await asyncio.gather(*(found(*one) for one in asked))
    print(json.dumps([one for one, yes in zip(asked, answers) if yes]))
asyncio.run(main(json.loads(sys.argv[1])))
"""
LISTEN = """
import socket, sys
held = [
    socket.create_server(("::", int(port)), family=socket.AF_INET6, dualstack_ipv6=True)
    for port in sys.argv[1:]
]
print("ready", flush=True)
sys.stdin.read()
"""
INVENTORY = """
[hosts.box]
address = "198.51.100.10"
roles = {roles}
[hosts.other]
address = "{other}"
roles = ["mgmt"]
[mgmt]
domain = "api.example.com"
"""


def run(*words: str, input: str | None = None) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True, input=input).stdout


class Machines:
    """An agents' host with our firewall, one of its containers, and the world outside."""

    def __init__(self, stack: ExitStack, tmp_path: Path) -> None:
        name = uuid.uuid4().hex[:6]
        self.host, self.container, self.world = (
            f"ocmt-{name}-{part}" for part in ("host", "box", "world")
        )
        self._folder = tmp_path
        for space in (self.host, self.container, self.world):
            run("ip", "netns", "add", space)
            stack.callback(run, "ip", "netns", "del", space)
            run("ip", "-n", space, "link", "set", "lo", "up")
            run("ip", "netns", "exec", space, "sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0")
        run("ip", "netns", "exec", self.host, "sysctl", "-qw", "net.ipv4.ip_forward=1",
            "net.ipv6.conf.all.forwarding=1")  # fmt: skip
        world = [INTERNET, INTERNET_6, RESOLVER, RESOLVER_6, GOOGLES_RESOLVER, MANAGEMENT_HOST]
        self._link(firewall.AGENTS_BRIDGE, self.container, (HOST, HOST_6), (CONTAINER, CONTAINER_6))
        self._link("out0", self.world, ("10.9.0.1", "2001:db8:9::1"), (NEIGHBOUR, "2001:db8:9::2"))
        for address in dict.fromkeys((*world, *METADATA, *INNER)):
            if address != NEIGHBOUR:
                run("ip", "-n", self.world, "addr", "add", address, "dev", "lo")
        run("ip", "-n", self.host, "route", "add", "default", "via", NEIGHBOUR)
        run("ip", "-n", self.host, "-6", "route", "add", "default", "via", "2001:db8:9::2")
        for space in (self.host, self.world, self.container):
            ports = ["22", "53", "443", "3443", "4000", "4001"]
            listening = subprocess.Popen(
                ["ip", "netns", "exec", space, sys.executable, "-c", LISTEN, *ports],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
            stack.callback(listening.communicate)
            assert listening.stdout is not None
            assert listening.stdout.readline() == "ready\n"

    def _link(self, name: str, space: str, near: tuple[str, str], far: tuple[str, str]) -> None:
        run("ip", "-n", self.host, "link", "add", name, "type", "veth", "peer", "name", "eth0",
            "netns", space)  # fmt: skip
        for where, link, addresses in ((self.host, name, near), (space, "eth0", far)):
            run("ip", "-n", where, "addr", "add", f"{addresses[0]}/24", "dev", link)
            run("ip", "-n", where, "addr", "add", f"{addresses[1]}/64", "dev", link, "nodad")
            run("ip", "-n", where, "link", "set", link, "up")
        run("ip", "-n", space, "route", "add", "default", "via", near[0])
        run("ip", "-n", space, "-6", "route", "add", "default", "via", near[1])

    def guard(
        self,
        *,
        roles: str = '["agent"]',
        resolvers: Sequence[str] = (),
        allow: Sequence[str] = (),
    ) -> None:
        file = self._folder / "ocmt.toml"
        text = INVENTORY.format(roles=roles, other=MANAGEMENT_HOST)
        file.write_text(f"{text}[firewall]\nallow = {json.dumps(list(allow))}\n")
        inventory = load_inventory(file)
        rules = firewall.firewall(inventory, inventory.host("box"), resolvers)
        run("ip", "netns", "exec", self.host, "nft", "-f", "-", input=rules)

    def reach(self, address: str, *ports: int, start: str = "") -> list[int]:
        """The ports that can be reached, by default from the container."""
        return [port for _, port in self._reached([(address, port) for port in ports], start)]

    def reach_all(self, addresses: Sequence[str], *ports: int) -> set[tuple[str, int]]:
        """Which of these ports a container reaches at each of these addresses."""
        return set(self._reached([(one, port) for one in addresses for port in ports], ""))

    def _reached(self, asked: list[tuple[str, int]], start: str) -> list[tuple[str, int]]:
        said = run("ip", "netns", "exec", start or self.container, sys.executable, "-c", FOUND,
                   json.dumps(asked))  # fmt: skip
        return [(address, port) for address, port in json.loads(said)]


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    with ExitStack() as stack:
        yield Machines(stack, tmp_path)


def test_a_container_reaches_the_relay_and_the_internet_only(machines: Machines) -> None:
    machines.guard()
    assert machines.reach(HOST, 4001, 4000, 22) == [4001]
    assert machines.reach(INTERNET, 443, 22) == [443, 22]
    assert machines.reach(INTERNET_6, 443) == [443]
    assert machines.reach(NEIGHBOUR, 443, 4000, 22) == []


def test_no_clouds_metadata_and_no_inner_network_is_reached(machines: Machines) -> None:
    guarded = (*METADATA, *INNER)
    assert machines.reach_all(guarded, 443) == {(one, 443) for one in guarded}
    machines.guard(resolvers=[RESOLVER])
    assert machines.reach_all(guarded, 53, 443) == set()


def test_of_the_hosts_own_resolvers_port_53_is_reached(machines: Machines) -> None:
    """In some clouds the resolver has the metadata's address."""
    machines.guard(resolvers=["127.0.0.53", RESOLVER, RESOLVER_6, GOOGLES_RESOLVER])
    own = (RESOLVER, RESOLVER_6, GOOGLES_RESOLVER)
    assert machines.reach_all(own, 53, 443, 4000) == {(one, 53) for one in own}


@pytest.mark.parametrize("roles", ['["agent"]', '["agent", "ui"]', '["agent", "mgmt"]'])
def test_managements_port_for_this_host_is_kept_from_containers_that_bear_its_address(
    machines: Machines, roles: str
) -> None:
    machines.guard(roles=roles)
    assert machines.reach(MANAGEMENT_HOST, 3443, 443) == [443]
    assert machines.reach(MANAGEMENT_HOST, 3443, start=machines.host) == [3443]


def test_nobody_beyond_the_host_reaches_a_container(machines: Machines) -> None:
    assert machines.reach(CONTAINER, 443, start=machines.world) == [443]
    machines.guard()
    for address in (CONTAINER, CONTAINER_6):
        assert machines.reach(address, 443, 4000, start=machines.world) == []
        assert machines.reach(address, 443, start=machines.host) == [443]


def test_what_is_allowed_is_reached_from_where_it_is_allowed_and_never_by_agents(
    machines: Machines,
) -> None:
    """4000 and 53 stand for any other port that is open on the host."""
    outside, near_6 = "10.9.0.1", "2001:db8:9::1"

    def reached(*allow: str) -> tuple[list[int], list[int]]:
        machines.guard(allow=allow)
        assert machines.reach(HOST, 4001, 4000, 53, 22) == [4001]
        at = (outside, near_6)
        found = [machines.reach(one, 22, 53, 4000, start=machines.world) for one in at]
        return found[0], found[1]

    assert reached() == ([22], [22])
    assert reached("4000/tcp") == ([22, 4000], [22, 4000])
    assert reached("4000/udp", "3000-3999/tcp") == ([22], [22])
    assert reached("50-60/tcp") == ([22, 53], [22, 53])
    assert reached("10.9.0.0/24") == ([22, 53, 4000], [22])
    assert reached("10.8.0.0/24") == ([22], [22])
    assert reached("4000/tcp from 2001:db8:9::/64") == ([22], [22, 4000])
