"""A server's host key, accepted once and by its fingerprint: nobody else's is ever trusted."""

import base64
import hashlib
import subprocess
from pathlib import Path

from ocmt_cli.deploy.inventory import HostEntry, Inventory
from ocmt_cli.failure import CommandFailed


def fingerprint(key: str) -> str:
    """What `ssh-keygen -lf` shows for the base64 of a public key."""
    digest = hashlib.sha256(base64.b64decode(key)).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def ensure_known(inventory: Inventory, host: HostEntry, *, accepted: str) -> None:
    """Have the host in known_hosts. Raises `CommandFailed` with the fingerprint to compare."""
    file = inventory.deploy.known_hosts or Path.home() / ".ssh" / "known_hosts"
    name = host.address if host.ssh_port == 22 else f"[{host.address}]:{host.ssh_port}"
    look = ["ssh-keygen", "-F", name, "-f", str(file)]
    known = subprocess.run(look, capture_output=True, check=False)
    if known.returncode == 0:
        return
    scan = ["ssh-keyscan", "-T", "10", "-t", "ed25519", "-p", str(host.ssh_port), host.address]
    said = subprocess.run(scan, capture_output=True, text=True, check=False).stdout
    lines = [line for line in said.splitlines() if line and not line.startswith("#")]
    if not lines:
        raise CommandFailed(
            f"{host.name}: look: no ssh answers at {name}. Check address, ssh_port and the "
            "provider's firewall."
        )
    found = fingerprint(lines[0].split()[2])
    if not accepted:
        raise CommandFailed(
            f"{host.name} is not known yet. It shows the key {found}. Compare with what the "
            "server's console says (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub); if they are "
            f"the same: ocmt setup {host.name} --host-key {found}"
        )
    if accepted != found:
        raise CommandFailed(
            f"{host.name} shows the key {found}, not {accepted}. Do not go on: something else "
            "answers at its address."
        )
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as known_hosts:
        known_hosts.write(f"{name} {' '.join(lines[0].split()[1:3])}\n")
