"""The inventory: the example is valid, and every mistake is reported with file, key and remedy."""

from pathlib import Path, PurePosixPath

import pytest
from ocmt_cli.checkout import ROOT
from ocmt_cli.deploy.inventory import InventoryError, load_inventory

WORKING = '[hosts.one]\naddress = "192.0.2.1"\nroles = ["mgmt", "agent", "ui"]\n'


def _load(tmp_path: Path, text: str) -> str:
    """The error for an inventory that must be refused."""
    file = tmp_path / "ocmt.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InventoryError) as refused:
        load_inventory(file)
    assert str(file) in str(refused.value)
    return str(refused.value)


def test_the_example_is_valid_and_means_what_it_says() -> None:
    inventory = load_inventory(ROOT / "deploy" / "ocmt.example.toml")

    assert [host.name for host in inventory.with_role("agent")] == ["agents-1"]
    assert inventory.mgmt.path == PurePosixPath("/opt/management-server")
    assert inventory.agent.path == PurePosixPath("/opt/ocmt/agent-server")
    assert inventory.ui.path == PurePosixPath("/var/www/ocmt")
    assert inventory.host("agents-1").user == "deploy"


def test_a_hosts_key_is_found_beside_the_inventory(tmp_path: Path) -> None:
    file = tmp_path / "ocmt.toml"
    file.write_text(WORKING + 'identity_file = "keys/deploy"\n', encoding="utf-8")
    assert load_inventory(file).host("one").identity_file == tmp_path / "keys" / "deploy"


@pytest.mark.parametrize("roles", [["agent"], ["mgmt", "agent"], ["agent", "ui"]])
def test_a_second_agent_host_is_refused_since_it_would_get_no_agent(
    tmp_path: Path, roles: list[str]
) -> None:
    told = _load(tmp_path, f"{WORKING}[hosts.two]\naddress = '192.0.2.2'\nroles = {roles}\n")
    assert "hosts one and two have the role agent" in told
    assert "Keep the role on one host" in told


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "203.0.113.11", "agents.example.com"])
def test_the_agents_plain_port_is_for_its_own_machine_only(tmp_path: Path, address: str) -> None:
    told = _load(tmp_path, f'{WORKING}[agent]\nbind = "{address}"\n')
    assert "agent.bind: must be 127.0.0.1 or ::1" in told
    assert "tls_port" in told


def test_one_host_may_be_everything_below_its_own_root(tmp_path: Path) -> None:
    file = tmp_path / "ocmt.toml"
    file.write_text(WORKING + 'root = "/srv/one"\n', encoding="utf-8")

    inventory = load_inventory(file)

    where = inventory.component_path(inventory.host("one"), "mgmt")
    assert where == PurePosixPath("/srv/one/opt/management-server")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[hosts.one]\nroles=['ui']\n", "hosts.one.address is missing"),
        (WORKING + "[deploy]\nkeep_relases = 3\n", "did you mean keep_releases?"),
        (WORKING + "sshport = 22\n", "did you mean ssh_port?"),
        ("[hosts.one]\naddress='a'\nroles=['mgnt']\n", "hosts.one.roles.0"),
        ("[hosts.one]\naddress='a'\nroles=[]\n", "hosts.one.roles"),
        ("[hosts.one]\naddress='-oProxyCommand=x'\nroles=['ui']\n", "hosts.one.address"),
        ("[hosts.one]\naddress='one.example:22'\nroles=['ui']\n", "a port goes into ssh_port"),
        ("[hosts.one]\naddress='[one]'\nroles=['ui']\n", "hosts.one.address"),
        ("[hosts.one]\naddress=':::1'\nroles=['ui']\n", "hosts.one.address"),
        ("[hosts.'a b']\naddress='a'\nroles=['ui']\n", "a host's name may have"),
        (WORKING + "root='../x'\n", "hosts.one.root: must be absolute"),
        (WORKING + "[mgmt]\nport = 70000\n", "mgmt.port"),
        (WORKING + "[mgmt]\nport = 3443\n", "port and tls_port must differ"),
        (WORKING + "[agent]\ntls_port = 4001\n", "relay_port and tls_port must differ"),
        (WORKING + "[ui]\ndomain = 'https://x'\n", "ui.domain: is not a domain name"),
        (WORKING + "[agent]\ndata = '/opt/ocmt/agent-server/data'\n", "paths overlap"),
        (WORKING + "[hosts.two]\naddress='192.0.2.1'\nroles=['ui']\n", "same machine"),
        ("[hosts.one\n", "is not TOML"),
        ("", "hosts is missing"),
    ],
)
def test_a_mistake_is_told_with_key_and_cure(tmp_path: Path, text: str, told: str) -> None:
    assert told in _load(tmp_path, text)


def test_a_missing_file_names_the_example(tmp_path: Path) -> None:
    with pytest.raises(InventoryError, match=r"deploy/ocmt\.example\.toml"):
        load_inventory(tmp_path / "none.toml")


def test_an_unknown_host_names_those_there_are(tmp_path: Path) -> None:
    file = tmp_path / "ocmt.toml"
    file.write_text(WORKING, encoding="utf-8")

    with pytest.raises(InventoryError, match="It has: one"):
        load_inventory(file).host("two")


@pytest.mark.parametrize("written", ["::1", "[::1]", "2001:db8::7", "fe80::1"])
def test_an_ipv6_address_is_taken_with_and_without_brackets(tmp_path: Path, written: str) -> None:
    file = tmp_path / "ocmt.toml"
    file.write_text(WORKING.replace("192.0.2.1", written))
    assert load_inventory(file).host("one").address == written.strip("[]")
