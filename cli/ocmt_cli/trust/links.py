"""Decides which hosts of an inventory connect to each other, and at which addresses. Pure."""

from ocmt_cli.deploy.inventory import HostEntry, Inventory, Role

TLS_FOLDER = "tls"
"""The name of TLS_DIR in the component's folder."""


def is_one_machine(one: HostEntry, other: HostEntry) -> bool:
    """Whether two hosts share a loopback interface, as root folders of one machine do."""
    return one.name == other.name or (one.address == other.address and one.root != other.root)


def tls_roles(inventory: Inventory, host: HostEntry) -> list[Role]:
    """The servers of this host that connect to one on another host."""
    agents, management = inventory.with_role("agent"), inventory.with_role("mgmt")
    found: list[Role] = []
    if "mgmt" in host.roles and agents and not is_one_machine(agents[0], host):
        found.append("mgmt")
    if "agent" in host.roles and any(not is_one_machine(one, host) for one in management):
        found.append("agent")
    return found


def linked_hosts(inventory: Inventory) -> list[HostEntry]:
    """The hosts that need a certificate."""
    return [host for host in inventory.hosts.values() if tls_roles(inventory, host)]


def agent_server_url(inventory: Inventory, host: HostEntry) -> str:
    """The agent server's address for management on `host`."""
    agents = inventory.with_role("agent")
    if "mgmt" in tls_roles(inventory, host):
        return _https(agents[0], inventory.agent.tls_port)
    return f"http://127.0.0.1:{inventory.agent.port}"


def agents_management_url(inventory: Inventory, host: HostEntry) -> str:
    """Management's address for the relay on `host`."""
    management = inventory.with_role("mgmt")
    if not management or any(is_one_machine(one, host) for one in management):
        return f"http://127.0.0.1:{inventory.mgmt.port}"
    return _https(management[0], inventory.mgmt.tls_port)


def env_lines(inventory: Inventory, host: HostEntry, role: Role) -> list[str]:
    """The lines of a server's `.env` if it connects to one on another host; else none."""
    if role not in tls_roles(inventory, host):
        return []
    folder = inventory.component_path(host, role) / TLS_FOLDER
    return [
        f"TLS_DIR={folder}",
        f"TLS_HOST={_every_address(host)}",
        f"TLS_PORT={_port(inventory, role)}",
    ]


def listener(inventory: Inventory, host: HostEntry, role: Role) -> str | None:
    """ADDRESS:PORT on which a server accepts the other host's connections.

    `None` if it connects to none on another host.
    """
    if role not in tls_roles(inventory, host):
        return None
    address = _every_address(host)
    return f"{f'[{address}]' if ':' in address else address}:{_port(inventory, role)}"


def _every_address(host: HostEntry) -> str:
    """The wildcard address, since a host behind NAT does not have the inventory's address."""
    return "::" if ":" in host.address else "0.0.0.0"  # noqa: S104 (mutual TLS)


def _port(inventory: Inventory, role: Role) -> int:
    return inventory.mgmt.tls_port if role == "mgmt" else inventory.agent.tls_port


def _https(host: HostEntry, port: int) -> str:
    address = f"[{host.address}]" if ":" in host.address else host.address
    return f"https://{address}:{port}"
