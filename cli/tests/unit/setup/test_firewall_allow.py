"""`[firewall] allow`: what it accepts, what it refuses, and the resulting rules."""

import subprocess
from pathlib import Path

import pytest
from ocmt_cli.deploy.firewall_allow import parse
from ocmt_cli.deploy.inventory import Inventory, InventoryError, load_inventory
from ocmt_cli.setup.facts import Listening
from ocmt_cli.setup.firewall import firewall, openings, shut

RULES = {
    "9100/tcp": "tcp dport 9100 accept",
    "51820/udp": "udp dport 51820 accept",
    "60000-61000/udp": "udp dport 60000-61000 accept",
    "192.168.1.0/24": "ip saddr 192.168.1.0/24 accept",
    "10.0.0.7": "ip saddr 10.0.0.7 accept",
    "fd00:9::/32": "ip6 saddr fd00:9::/32 accept",
    "9100/tcp from 10.0.0.7": "ip saddr 10.0.0.7 tcp dport 9100 accept",
    "22-23/tcp from 2001:db8::/48": "ip6 saddr 2001:db8::/48 tcp dport 22-23 accept",
}


def _inventory(tmp_path: Path, *allow: object, roles: str = '["mgmt", "ui", "agent"]') -> Inventory:
    file = tmp_path / "ocmt.toml"
    entries = ", ".join(f'"{one}"' if isinstance(one, str) else str(one) for one in allow)
    file.write_text(
        f'[hosts.box]\naddress = "203.0.113.10"\nroles = {roles}\n'
        f'[ui]\ndomain = "app.example.com"\n[firewall]\nallow = [{entries}]\n'
    )
    return load_inventory(file)


@pytest.mark.parametrize("text", RULES)
def test_ports_and_networks_become_a_rule_and_are_shown_as_they_are_written(text: str) -> None:
    assert parse(text).rule() == RULES[text]
    assert str(parse(text)) == text


@pytest.mark.parametrize(
    ("entry", "cure"),
    [
        (9100, 'write a port ("9100/tcp"'),
        ("9100", 'write a port ("9100/tcp"'),
        ("9100/sctp", 'write a port ("9100/tcp"'),
        ("http/tcp", 'write a port ("9100/tcp"'),
        ("", 'write a port ("9100/tcp"'),
        ("nas.example.com", 'a network ("192.168.1.0/24")'),
        ("9100/tcp from nas.example.com", '"9100/tcp from 192.168.1.0/24"'),
        ("9100/tcp accept; flush ruleset", 'write a port ("9100/tcp"'),
        ("0/tcp", "ports are 1 to 65535"),
        ("65536/udp", "ports are 1 to 65535"),
        ("61000-60000/udp", "the lower one first"),
        ("192.168.1.5/24", "write 192.168.1.0/24"),
        ("9100/tcp from fd00::1/64", "write fd00::/64"),
    ],
)
def test_what_is_not_understood_is_refused_with_how_to_write_it(
    tmp_path: Path, entry: object, cure: str
) -> None:
    with pytest.raises(InventoryError) as refused:
        _inventory(tmp_path, "51820/udp", entry)
    assert "firewall.allow.1: " in str(refused.value)
    assert cure in str(refused.value)


def test_a_key_with_a_typo_is_refused(tmp_path: Path) -> None:
    _inventory(tmp_path)
    file = tmp_path / "ocmt.toml"
    file.write_text(file.read_text().replace("allow =", "alow ="))
    with pytest.raises(InventoryError, match="did you mean allow"):
        load_inventory(file)


@pytest.mark.needs("nft", "root")
def test_nftables_accepts_every_way_to_write_it(tmp_path: Path) -> None:
    inventory = _inventory(tmp_path, *RULES)
    rules = tmp_path / "firewall.nft"
    rules.write_text(firewall(inventory, inventory.host("box"), []))
    for rule in RULES.values():
        assert rule in rules.read_text()
    done = subprocess.run(
        ["nft", "-c", "-f", str(rules)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_allowed_ports_are_not_open_to_agents(tmp_path: Path) -> None:
    inventory = _inventory(tmp_path, "0.0.0.0/0", "9100/tcp")
    rules = firewall(inventory, inventory.host("box"), []).splitlines()
    lines = [line.strip() for line in rules]
    assert lines.index("iifname ocmt0 drop") < lines.index("ip saddr 0.0.0.0/0 accept")
    assert lines.index("iifname ocmt0 drop") < lines.index("tcp dport 9100 accept")


def test_listening_ports_that_are_not_allowed_are_blocked(tmp_path: Path) -> None:
    inventory = _inventory(tmp_path, "51820/udp", "60000-61000/udp", "9100/tcp from 10.0.0.7")
    host = inventory.host("box")
    kept = [(22, "tcp"), (80, "tcp"), (443, "udp"), (51820, "udp"), (60500, "udp"), (9100, "tcp")]
    own = [(3000, "tcp"), (4000, "tcp"), (4001, "tcp"), (68, "udp")]
    gone = [(445, "tcp"), (2222, "tcp"), (9100, "udp"), (51820, "tcp")]
    listening = [Listening(port, protocol, "") for port, protocol in (*kept, *own, *gone)]
    closed = shut(listening, inventory=inventory, host=host)
    assert [(one.port, one.protocol) for one in closed] == gone
    assert "22/tcp" in map(str, openings(inventory, host))

    page = _inventory(tmp_path, roles='["ui"]')
    closed = shut(listening, inventory=page, host=page.host("box"))
    assert (3000, "tcp") in [(one.port, one.protocol) for one in closed]
