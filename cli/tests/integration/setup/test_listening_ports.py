"""`setup.hostside.listening` on real sockets of this machine."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from ocmt_cli.setup.hostside.listening import Listening, listening

ME = Path("/proc/self/comm").read_text().strip()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


def _listen(stack: ExitStack, address: str, kind: socket.SocketKind) -> int:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = stack.enter_context(socket.socket(family, kind))
    made.bind((address, 0))
    if kind is socket.SOCK_STREAM:
        made.listen()
    port: int = made.getsockname()[1]
    return port


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "::ffff:0.0.0.0"])
@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_what_others_can_reach_is_found_with_its_program(
    stack: ExitStack, address: str, kind: socket.SocketKind
) -> None:
    protocol = "tcp" if kind is socket.SOCK_STREAM else "udp"
    port = _listen(stack, address, kind)
    assert {"port": port, "protocol": protocol, "program": ME} in listening()


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.53", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_loopback_is_left_out(stack: ExitStack, address: str, kind: socket.SocketKind) -> None:
    protocol = "tcp" if kind is socket.SOCK_STREAM else "udp"
    port = _listen(stack, address, kind)
    assert not [one for one in listening() if (one["port"], one["protocol"]) == (port, protocol)]


def test_connections_are_left_out(stack: ExitStack) -> None:
    port = _listen(stack, "127.0.0.1", socket.SOCK_STREAM)
    client = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
    datagrams = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    datagrams.connect(("127.0.0.1", port))
    used = {client.getsockname()[1], datagrams.getsockname()[1]}
    assert not used & {one["port"] for one in listening()}


@pytest.mark.needs("root")
@pytest.mark.parametrize(
    ("address", "protocol", "found"),
    [
        ("0.0.0.0", 112, True),  # VRRP
        ("0.0.0.0", 89, True),  # OSPF
        ("::", 47, True),  # GRE
        ("0.0.0.0", socket.IPPROTO_ICMP, False),
        ("::", socket.IPPROTO_ICMPV6, False),
        ("0.0.0.0", socket.IPPROTO_RAW, False),
        ("0.0.0.0", socket.IPPROTO_TCP, False),
        ("127.0.0.1", 112, False),
    ],
)
def test_ip_protocols_of_their_own_are_found(
    stack: ExitStack, address: str, protocol: int, found: bool
) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = stack.enter_context(socket.socket(family, socket.SOCK_RAW, protocol))
    made.bind((address, 0))
    listed = {"port": protocol, "protocol": "ip", "program": ME} in listening()
    assert listed is found


HEAD = "  sl  local_address rem_address   st\n"
SOCKET = "   0: {} 00000000:0000 {} 00000000:00000000 00:00000000 00000000  0  0 {} 1\n"


def _holds(proc: Path, pid: int, program: str, *inodes: int) -> None:
    (proc / str(pid) / "fd").mkdir(parents=True)
    (proc / str(pid) / "comm").write_text(f"{program}\n")
    for inode in inodes:
        (proc / str(pid) / "fd" / str(inode)).symlink_to(f"socket:[{inode}]")


def test_containers_the_kernel_and_systemds_sockets(tmp_path: Path) -> None:
    """Containers' IPv4 ports are forwarded, so our rules for the host do not apply to them."""
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "tcp").write_text(
        HEAD
        + SOCKET.format("00000000:1F90", "0A", 11)  # 8080
        + SOCKET.format("00000000:0016", "0A", 12)
    )
    none = "0" * 32
    (tmp_path / "net" / "tcp6").write_text(HEAD + SOCKET.format(f"{none}:1F91", "0A", 13))
    (tmp_path / "net" / "udp").write_text(HEAD + SOCKET.format("00000000:CA6C", "07", 0))
    _holds(tmp_path, 1, "systemd", 12)
    _holds(tmp_path, 20, "sshd", 12)
    _holds(tmp_path, 30, "docker-proxy", 11, 13)
    expected: list[Listening] = [
        {"port": 22, "protocol": "tcp", "program": "sshd"},
        {"port": 8081, "protocol": "tcp", "program": "docker-proxy"},
        {"port": 51820, "protocol": "udp", "program": ""},
    ]
    assert listening(tmp_path) == expected
