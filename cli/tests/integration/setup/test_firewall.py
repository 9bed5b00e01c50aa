"""The firewall, loaded where it guards nothing but network namespaces of the test's own."""

import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from ocmt_cli.deploy.inventory import load_inventory
from ocmt_cli.setup import files

ROOT = Path(__file__).parents[4]

pytestmark = pytest.mark.needs("root", "ip", "nft")

HOST, CONTAINER = "10.213.0.1", "10.213.0.2"
METADATA, NEIGHBOUR, INTERNET = "169.254.169.254", "10.9.0.2", "198.51.100.7"
FOUND = """
import socket, sys
for port in sys.argv[2:]:
    with socket.socket() as s:
        s.settimeout(0.5)
        print(port, s.connect_ex((sys.argv[1], int(port))) == 0)
"""
LISTEN = """
import socket, sys
held = [socket.create_server(("0.0.0.0", int(port))) for port in sys.argv[1:]]
print("ready", flush=True)
sys.stdin.read()
"""
Reach = Callable[..., dict[int, bool]]


def run(*words: str, input: str | None = None) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True, input=input).stdout


@pytest.fixture
def reach() -> Iterator[Reach]:
    """Which of a machine's ports a container reaches, on an agents' host with our firewall."""
    name = uuid.uuid4().hex[:6]
    host, container, world = (f"ocmt-{name}-{part}" for part in ("host", "box", "world"))
    python = sys.executable
    with ExitStack() as stack:
        for space in (host, container, world):
            run("ip", "netns", "add", space)
            stack.callback(run, "ip", "netns", "del", space)
            run("ip", "-n", space, "link", "set", "lo", "up")
        pairs = ((files.AGENTS_BRIDGE, container, f"{HOST}/21", [f"{CONTAINER}/21"]),
                 ("out0", world, "10.9.0.1/24", [f"{NEIGHBOUR}/24", f"{METADATA}/32",
                                                 f"{INTERNET}/32"]))  # fmt: skip
        for link, space, near, far in pairs:
            run("ip", "-n", host, "link", "add", link, "type", "veth", "peer", "name", "eth0",
                "netns", space)  # fmt: skip
            run("ip", "-n", host, "addr", "add", near, "dev", link)
            run("ip", "-n", host, "link", "set", link, "up")
            for address in far:
                run("ip", "-n", space, "addr", "add", address, "dev", "eth0")
            run("ip", "-n", space, "link", "set", "eth0", "up")
            run("ip", "-n", space, "route", "add", "default", "via", near.partition("/")[0])
        run("ip", "-n", host, "route", "add", "default", "via", NEIGHBOUR)
        run("ip", "netns", "exec", host, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        inventory = load_inventory(ROOT / "deploy" / "ocmt.example.toml")
        rules = files.firewall(inventory, inventory.host("agents-1"))
        run("ip", "netns", "exec", host, "nft", "-f", "-", input=rules)
        for space in (host, world):
            listening = subprocess.Popen(
                ["ip", "netns", "exec", space, python, "-c", LISTEN, "22", "53", "443", "4000",
                 "4001"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
            stack.callback(listening.communicate)
            assert listening.stdout is not None
            assert listening.stdout.readline() == "ready\n"

        def found(address: str, *ports: int) -> dict[int, bool]:
            said = run("ip", "netns", "exec", container, python, "-c", FOUND, address,
                       *map(str, ports))  # fmt: skip
            return {int(port): yes == "True" for port, yes in map(str.split, said.splitlines())}

        yield found


def test_a_container_reaches_the_relay_and_the_internet_only(reach: Reach) -> None:
    assert reach(HOST, 4001, 4000, 22) == {4001: True, 4000: False, 22: False}
    assert reach(INTERNET, 443, 22) == {443: True, 22: True}
    assert reach(NEIGHBOUR, 443, 4000, 22) == {443: False, 4000: False, 22: False}
    # A cloud's resolver may be at the metadata's address; the metadata themselves are not for it.
    assert reach(METADATA, 53, 443) == {53: True, 443: False}
