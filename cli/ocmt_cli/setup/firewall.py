"""The host's nftables rules, from the inventory and the host's DNS servers. Pure."""

import ipaddress
from collections.abc import Sequence

from ocmt_cli.deploy.firewall_allow import Allowed, port
from ocmt_cli.deploy.inventory import HostEntry, Inventory, Role
from ocmt_cli.setup.facts import Listening
from ocmt_cli.setup.files import ip_address
from ocmt_cli.trust import links

AGENTS_BRIDGE = "ocmt0"
"""The bridge that the agent server creates for its containers; a test compares the names."""
TOOLS_BRIDGE = "ocmt1"
"""The bridge of tool servers, which may not even reach the relay."""
_BRIDGES = f"{{ {AGENTS_BRIDGE}, {TOOLS_BRIDGE} }}"

# Addresses outside of the public internet (IANA's special-purpose registries), and clouds' metadata
# services, which hand out credentials.
_NOT_PUBLIC = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",  # carriers' and clouds' inner networks; Alibaba's 100.100.100.200
    "127.0.0.0/8",
    "168.63.129.16/32",  # Azure's WireServer, in a public range
    "169.254.0.0/16",  # 169.254.169.254: most clouds' metadata
    "172.16.0.0/12",
    "192.0.0.0/24",  # Oracle's 192.0.0.192
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/3",  # multicast, reserved, broadcast
)
_NOT_PUBLIC_6 = (
    "::/96",
    "::ffff:0:0/96",
    "64:ff9b:1::/48",  # NAT64 inside a network
    "2002::/16",  # 6to4: an IPv4 address inside
    "fc00::/7",  # fd00:ec2::254: AWS's metadata; fd20:ce::254: Google's
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")

# DHCP and DHCPv6.
_DHCP = (port(68, "udp"), port(546, "udp"))

FIREWALL_UNIT = """\
[Unit]
Description=OCMT's firewall rules
Before=network-pre.target
Wants=network-pre.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/nft -f /etc/ocmt/firewall.nft

[Install]
WantedBy=multi-user.target
"""
NFTABLES_DROP_IN = """\
# Written by `ocmt setup`. Debian's nftables.service runs `flush ruleset` when it starts, reloads or
# stops, which removes OCMT's table too.
[Service]
ExecStartPost=-/usr/sbin/nft -f /etc/ocmt/firewall.nft
ExecReload=-/usr/sbin/nft -f /etc/ocmt/firewall.nft
ExecStopPost=-/usr/sbin/nft -f /etc/ocmt/firewall.nft
"""


def firewall(inventory: Inventory, host: HostEntry, resolvers: Sequence[str]) -> str:
    """OCMT's own nftables table; other tables, such as Docker's, are not changed.

    From outside, only `openings` are allowed. On this host, agents can reach only the relay, and
    tool servers nothing. Elsewhere, both can reach the public internet and port 53 of `resolvers`,
    the host's DNS servers.

    Raises `CommandFailed` if a rule needs a host's IP address and the inventory has a name.
    """
    rules: list[str] = []
    forward = ""
    if "agent" in host.roles:
        rules += [
            f"iifname {AGENTS_BRIDGE} tcp dport {inventory.agent.relay_port} accept",
            f"iifname {AGENTS_BRIDGE} drop",
            f"iifname {TOOLS_BRIDGE} drop",
        ]
        forward = _forward(inventory, host, resolvers)
    rules += [one.rule() for one in (*_DHCP, *openings(inventory, host))]
    return f"""\
#!/usr/sbin/nft -f
# Written by `ocmt setup`. Loaded as one transaction, so that the rules are never missing.
table inet ocmt
delete table inet ocmt
table inet ocmt {{
    chain input {{
        type filter hook input priority filter; policy drop;
        ct state established,related accept
        ct state invalid drop
        iif lo accept
        meta l4proto {{ icmp, ipv6-icmp }} accept
{_lines(rules)}
    }}
{forward}}}
"""


def openings(inventory: Inventory, host: HostEntry) -> list[Allowed]:
    """The connections allowed from outside.

    These are ssh, the front, `[firewall] allow`, and the TLS ports of management and agent server
    for each other's hosts. Raises `CommandFailed` if such a host's address is a name.
    """
    found = [port(host.ssh_port, "tcp")]
    if {"mgmt", "ui"} & set(host.roles):
        found += [port(80, "tcp"), port(443, "tcp"), port(443, "udp")]
    found += [_from(other, inventory.agent.tls_port) for other in _others(inventory, host, "mgmt")]
    found += [_from(other, inventory.mgmt.tls_port) for other in _others(inventory, host, "agent")]
    return [*found, *inventory.firewall.allow]


def _others(inventory: Inventory, host: HostEntry, role: Role) -> list[HostEntry]:
    """The other machines with `role` that connect to this host's TLS port."""
    if ("agent" if role == "mgmt" else "mgmt") not in host.roles:
        return []
    others = inventory.with_role(role)
    return [other for other in others if not links.is_one_machine(other, host)]


def _from(other: HostEntry, number: int) -> Allowed:
    return port(number, "tcp", ipaddress.ip_network(ip_address(other)))


def shut(
    listening: Sequence[Listening], *, inventory: Inventory, host: HostEntry
) -> list[Listening]:
    """The listeners of other programs that the firewall would block."""
    known = [*_DHCP, *openings(inventory, host)]
    if "mgmt" in host.roles:
        known.append(port(inventory.mgmt.port, "tcp"))
    if "agent" in host.roles:
        known += [port(one, "tcp") for one in (inventory.agent.port, inventory.agent.relay_port)]
    return [
        one
        for one in listening
        if not any(
            opening.ports is not None
            and opening.ports.protocol == one.protocol
            and opening.ports.first <= one.port <= opening.ports.last
            for opening in known
        )
    ]


def _forward(inventory: Inventory, host: HostEntry, resolvers: Sequence[str]) -> str:
    """The chain for packets between containers and other machines."""
    rules = []
    for resolver in (ipaddress.ip_address(one.partition("%")[0]) for one in resolvers):
        # The engine, outside of the container, queries a resolver on loopback.
        if not resolver.is_loopback:
            to = f"{_family(resolver)} daddr {resolver}"
            rules.append(f"{to} meta l4proto {{ tcp, udp }} th dport 53 accept")
    # Management on another host accepts this host, and its containers' packets have its address.
    for other in _others(inventory, host, "mgmt"):
        address = ip_address(other)
        rules.append(f"{_family(address)} daddr {address} tcp dport {inventory.mgmt.tls_port} drop")
    embedded = [
        str(ipaddress.IPv6Network((int(_NAT64[0]) + int(one[0]), 96 + one.prefixlen)))
        for one in map(ipaddress.IPv4Network, _NOT_PUBLIC)
    ]
    rules += [
        f"ip daddr {{ {', '.join(_NOT_PUBLIC)} }} drop",
        f"ip6 daddr {{ {', '.join((*_NOT_PUBLIC_6, *embedded))} }} drop",
    ]
    return f"""\
    chain forward {{
        type filter hook forward priority filter; policy accept;
        ct state established,related accept
        oifname {_BRIDGES} drop
        iifname != {_BRIDGES} accept
{_lines(rules)}
    }}
"""


def _lines(rules: Sequence[str]) -> str:
    return "\n".join(f"        {rule}" for rule in rules)


def _family(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    return "ip6" if address.version == 6 else "ip"
