"""A deploy, a renewal and a rollback between two machines, with TLS between them, under load."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from ocmt_cli.deploy.inventory import Inventory, Role, load_inventory
from ocmt_cli.deploy.orchestration import deploy
from ocmt_cli.deploy.source import read_source
from ocmt_cli.trust.command import renew_command
from ocmt_cli.trust.folder import open_trust
from ocmt_cli.trust.links import agent_server_url, agents_management_url, env_lines
from ocmt_testing.deploy.farm import BUILDS, Commit, Farm, deployer, farm
from ocmt_testing.deploy.load import Chats, Load, ModelCalls, Person, until
from ocmt_testing.ports import free_ports

MGMT_FILE = "management-server/ocmt_management/__init__.py"
AGENT_FILE = "agent-server/ocmt_agent/__init__.py"


def _apart(made: Farm) -> Inventory:
    """The agents' host at another address, with TLS ports, and settings that use them."""
    machine = made.machines["agent"]
    machine.stop()
    machine.settings = "ListenAddress 127.0.0.2\n"
    machine.start()
    known = made.folder / "known_hosts"
    known.write_text(known.read_text() + known.read_text().replace("127.0.0.1", "127.0.0.2"))
    tls, agent_tls = free_ports(2)
    first, name, rest = made.inventory.read_text().partition("[hosts.agent]")
    rest = rest.replace("127.0.0.1", "127.0.0.2", 1)
    rest = rest.replace("[mgmt]\n", f"[mgmt]\ntls_port = {tls}\n")
    rest = rest.replace("[agent]\n", f"[agent]\ntls_port = {agent_tls}\n")
    made.inventory.write_text(first + name + rest)
    inventory = load_inventory(made.inventory)
    urls: dict[Role, str] = {
        "mgmt": f"AGENT_SERVER_URL={agent_server_url(inventory, inventory.host('mgmt'))}",
        "agent": f"MANAGEMENT_URL={agents_management_url(inventory, inventory.host('agent'))}",
    }
    now = datetime.now(UTC)
    trust = open_trust(inventory, now)
    for role, url in urls.items():
        host = inventory.host(role)
        trust = trust.with_certificate(host, now).saved()
        env = made.component(role) / ".env"
        kept = [one for one in env.read_text().splitlines() if one[:8] != url[:8]]
        env.write_text("\n".join([*kept, url, *env_lines(inventory, host, role)]))
        (made.component(role) / "tls").mkdir()
        for file, text in trust.files(host, role).items():
            (made.component(role) / "tls" / file).write_text(text)
    return inventory


@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_nothing_fails_in_a_deploy_and_a_renewal_between_two_machines(
    checkout: Path, commit: Commit
) -> None:
    with farm() as made:
        _apart(made)
        deploy(deployer(made, "mgmt", "agent"), read_source(checkout), builds=BUILDS)
        person = Person(made)
        with Chats(person, 1) as first:
            until(lambda: first.turns > 0)
        for file in (MGMT_FILE, AGENT_FILE):
            commit(file, '"""', '"""A changed line. ')
        before = made.serving("mgmt"), made.serving("agent")
        with (
            Load(*made.urls) as load,
            Chats(person) as chats,
            ModelCalls(made, person.agent_token()) as calls,
        ):
            renew_command(made.inventory)
            deploy(deployer(made, "mgmt", "agent"), read_source(checkout), builds=BUILDS)
            renew_command(made.inventory)
        after = made.serving("mgmt"), made.serving("agent")
    assert (load.failures, chats.failures, calls.failures) == ([], [], [])
    assert set(before) & set(after) == set()
    assert min(load.count, chats.turns, calls.count) > 10
