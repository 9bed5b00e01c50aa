"""A host's key, accepted once by its fingerprint.

ssh itself fetches the key, so that ~/.ssh/config applies, such as jump hosts and proxies.
"""

import base64
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from ocmt_cli.checkout import command
from ocmt_cli.deploy.host_failures import explain
from ocmt_cli.deploy.inventory import HostEntry, Inventory
from ocmt_cli.deploy.ssh import make_folder, options
from ocmt_cli.failure import CommandFailed

_WITHIN_S = 60


def fingerprint(key: str) -> str:
    """The fingerprint, as `ssh-keygen -lf` shows it, of a public key in base64."""
    digest = hashlib.sha256(base64.b64decode(key)).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def ensure_known(inventory: Inventory, host: HostEntry, *, accepted: str) -> None:
    """Add the host to known_hosts, if it is not there and its key has the fingerprint `accepted`.

    Raises `CommandFailed` with the fingerprint to compare if none is accepted; also if another is,
    or if the key cannot be fetched.
    """
    file = inventory.deploy.known_hosts or Path.home() / ".ssh" / "known_hosts"
    look = ["ssh-keygen", "-F", _known_as(host), "-f", str(file)]
    if subprocess.run(look, capture_output=True, check=False).returncode == 0:
        return
    line = _shown_key(inventory, host)
    kind, key = line.split()[1:3]
    found = fingerprint(key)
    if not accepted:
        own = {"ssh-ed25519": "ed25519", "ssh-rsa": "rsa"}.get(kind, "ecdsa")
        raise CommandFailed(
            f"{host.name} is not known yet. Its key is {found}. Compare it with the output of "
            f"ssh-keygen -lf /etc/ssh/ssh_host_{own}_key.pub on the server's console; if they are "
            f"the same: {command(f'setup {host.name} --host-key {found}')}"
        )
    if accepted != found:
        raise CommandFailed(
            f"{host.name} has the key {found}, not {accepted}. Do not continue before you know "
            "why: another machine may answer at its address."
        )
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with file.open("a+b") as known_hosts:
        end = known_hosts.seek(0, os.SEEK_END)
        known_hosts.seek(max(0, end - 1))
        between = b"" if known_hosts.read() in (b"", b"\n") else b"\n"
        known_hosts.write(between + line.encode() + b"\n")


def _settings(host: HostEntry) -> dict[str, str]:
    """ssh's settings for this host, with the user's ssh_config; empty if ssh rejects that."""
    asked = ["ssh", "-G", "-p", str(host.ssh_port), "-l", host.user, "--", host.address]
    done = subprocess.run(asked, capture_output=True, check=False)
    lines = done.stdout.decode(errors="replace").splitlines()
    return dict(line.split(" ", 1) for line in lines if " " in line)


def _known_as(host: HostEntry) -> str:
    """The name that ssh looks up in known_hosts."""
    settings = _settings(host)
    if alias := settings.get("hostkeyalias", ""):
        return alias
    name, port = settings.get("hostname", host.address), settings.get("port", str(host.ssh_port))
    return name if port == "22" else f"[{name}]:{port}"


def _shown_key(inventory: Inventory, host: HostEntry) -> str:
    """The known_hosts line of the host's key. Raises `CommandFailed`."""
    folder = make_folder(host, inventory.deploy)
    try:
        fetched = folder / "fetched"
        fetch = [
            "ssh",
            "-o", f"UserKnownHostsFile={fetched}",
            "-o", "GlobalKnownHostsFile=/dev/null",
            "-o", "StrictHostKeyChecking=accept-new",
            "-o", "HashKnownHosts=no",
            "-o", "CheckHostIP=no",
            # Only fetches the key, without signing in to the unknown host.
            "-o", "PreferredAuthentications=none",
            "-o", "ControlMaster=no",
            "-o", "ControlPath=none",
            *options(folder, host, inventory.deploy),
            "--", host.address, "true",
        ]  # fmt: skip
        try:
            done = subprocess.run(fetch, capture_output=True, check=False, timeout=_WITHIN_S)
        except subprocess.TimeoutExpired as error:
            raise CommandFailed(
                f"{host.name}: fetch the host key: no answer within {_WITHIN_S} s. Check "
                "address, ssh_port and the provider's firewall."
            ) from error
        except FileNotFoundError as error:
            raise CommandFailed(
                "ssh is not installed on this machine. apt-get install openssh-client"
            ) from error
        lines = fetched.read_text(encoding="utf-8").splitlines() if fetched.exists() else []
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if not lines:
        stderr = done.stderr.decode(errors="replace")
        jump = _settings(host).get("proxyjump", "")
        if jump and "Host key verification failed" in stderr:
            raise CommandFailed(
                f"{host.name}: fetch the host key: that of its jump host {jump} is not known yet. "
                f"Connect to it by hand and compare its fingerprint: ssh {jump.split(',')[0]}"
            )
        raise explain(
            host, inventory.deploy, code=done.returncode, stderr=stderr, step="fetch the host key"
        )
    return lines[0]
