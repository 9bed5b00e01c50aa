"""`ocmt renew`: replace the certificates and the token between hosts."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from ocmt_common.console import say

from ocmt_cli.checkout import command
from ocmt_cli.deploy.host_connection import HostConnection
from ocmt_cli.deploy.inventory import DEFAULT_FILE, HostEntry, Inventory, Role, load_inventory
from ocmt_cli.deploy.remote import open_host
from ocmt_cli.failure import CommandFailed
from ocmt_cli.setup.tls import FILE_MODE
from ocmt_cli.trust.folder import locked, open_trust, refuse_another_clock
from ocmt_cli.trust.links import TLS_FOLDER, linked_hosts, tls_roles
from ocmt_cli.trust.renewing import renew

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def renew_command(
    inventory: Annotated[
        Path, typer.Option("--inventory", help="The inventory of servers.")
    ] = DEFAULT_FILE,
) -> None:
    """Replace the certificates and the token between hosts, without losing requests."""
    servers = load_inventory(inventory)
    linked = linked_hosts(servers)
    if not linked:
        say("Management and the agent server run on one machine: there is nothing to renew.")
        return
    with locked(servers):
        _renew(servers, linked)


def _renew(servers: Inventory, linked: list[HostEntry]) -> None:
    now = datetime.now(UTC)
    trust = open_trust(servers, now)
    missing = [host.name for host in linked if trust.certificate(host.name) is None]
    if missing:
        first = " and ".join(command(f"setup {name}") for name in missing)
        raise CommandFailed(f"{', '.join(missing)}: no certificate yet. First: {first}")
    with contextlib.ExitStack() as stack:
        targets = []
        for host in linked:
            connection = HostConnection(open_host(host, servers.deploy), host, servers)
            stack.callback(connection.close)
            for role in tls_roles(servers, host):
                # Also excludes a deploy and a renewal from another machine.
                connection.lock(role, what="renew")
                refuse_another_clock(host, connection.ask("facts", role)["time"], now)
                targets.append(OverSsh(servers, host, role, connection))
        ends = renew(trust, targets, now=now, report=say).ends_at(linked)
    say(f"The certificates are valid until {ends:%Y-%m-%d}.")


@dataclass(frozen=True, slots=True)
class OverSsh:
    """A server to renew, over a host connection."""

    inventory: Inventory
    entry: HostEntry
    role: Role
    connection: HostConnection

    def put(self, files: Mapping[str, str]) -> None:
        folder = self.inventory.component_path(self.entry, self.role) / TLS_FOLDER
        for name, text in files.items():
            self.connection.host.put(text, folder / name, mode=FILE_MODE, step=f"write {name}")

    def health(self) -> dict[str, Any] | None:
        said: dict[str, Any] | None = self.connection.ask("health", self.role)
        return said
