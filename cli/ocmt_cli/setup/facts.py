"""What a host has already, asked in one go; the plan is computed from this alone."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from ocmt_cli.deploy.host_failures import answer_of
from ocmt_cli.deploy.remote import Host

# Standard library only: it runs in the host's own Python, before anything of ours is there.
_PROBE = """
import hashlib, ipaddress, json, os, pwd, shutil, stat, subprocess, sys
asked = json.load(sys.stdin)
def installed(name):
    show = ["dpkg-query", "--show", "--showformat=${Status}", name]
    try:
        done = subprocess.run(show, capture_output=True, text=True)
    except FileNotFoundError:
        return False
    return done.stdout == "install ok installed"
def enabled(unit):
    try:
        done = subprocess.run(["systemctl", "is-enabled", unit], capture_output=True, text=True)
    except FileNotFoundError:
        return False
    return done.stdout.strip() == "enabled"
def look(name):
    try:
        found = os.lstat(name)
    except (FileNotFoundError, NotADirectoryError):
        return None
    digest = ""
    if stat.S_ISREG(found.st_mode):
        with open(name, "rb") as file:
            digest = hashlib.sha256(file.read()).hexdigest()
    return {"sha256": digest, "mode": stat.S_IMODE(found.st_mode)}
def lines(name):
    try:
        with open(name) as file:
            return file.read().splitlines()
    except OSError:
        return []
def user(name):
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True
def resolvers():
    found = []
    for name in ("/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"):
        words = [line.split() for line in lines(name)]
        found += [word[1] for word in words if len(word) > 1 and word[0] == "nameserver"]
    try:
        found += json.loads("\\n".join(lines("/etc/docker/daemon.json"))).get("dns", [])
    except (AttributeError, TypeError, ValueError):
        pass
    return sorted({one for one in map(str, found) if is_address(one)})
def is_address(word):
    try:
        ipaddress.ip_address(word)
    except ValueError:
        return False
    return True
meminfo = dict(line.split(":", 1) for line in lines("/proc/meminfo"))
print(json.dumps({
    "apt": shutil.which("apt-get") is not None,
    "systemd": os.path.isdir("/run/systemd/system"),
    "packages": [name for name in asked["packages"] if installed(name)],
    "users": [name for name in asked["users"] if user(name)],
    "units": [name for name in asked["units"] if enabled(name)],
    "paths": {name: look(name) for name in asked["paths"]},
    "keys": lines(asked["keys"]),
    "memory_mb": int(meminfo["MemTotal"].split()[0]) // 1024,
    "resolvers": resolvers(),
    "swap": any(not line.startswith(("Filename", "/dev/zram")) for line in lines("/proc/swaps")),
}))
"""


@dataclass(frozen=True, slots=True)
class Found:
    """A file or folder on the host."""

    sha256: str
    """Empty for a folder."""
    mode: int


@dataclass(frozen=True, slots=True)
class HostFacts:
    apt: bool
    systemd: bool
    """Whether systemd is what runs the machine, not only installed."""
    packages: frozenset[str]
    users: frozenset[str]
    units: frozenset[str]
    """Enabled ones."""
    paths: dict[str, Found]
    """What of the asked paths is there."""
    keys: frozenset[str]
    """Lines of the deploy user's authorized_keys."""
    memory_mb: int
    resolvers: tuple[str, ...]
    """Addresses of the DNS servers that the host, and so its containers, are given."""
    swap: bool
    """Whether there is swap on a disk."""


def gather(
    host: Host,
    *,
    packages: Sequence[str],
    users: Sequence[str],
    units: Sequence[str],
    paths: Sequence[PurePosixPath],
    keys: PurePosixPath,
) -> HostFacts:
    """Ask the host. Raises `CommandFailed` when it is not reached or has no Python."""
    asked = json.dumps(
        {
            "packages": list(packages),
            "users": list(users),
            "units": list(units),
            "paths": [str(path) for path in paths],
            "keys": str(keys),
        }
    )
    done = host.run(
        ("python3", "-c", _PROBE), step="look", stdin=asked.encode(), check=False, timeout_s=60
    )
    if done.code != 0:
        raise host.failure(done.code, done.stderr.strip() or done.stdout, "look")
    said = answer_of(host.name, "look", done.stdout)
    return HostFacts(
        apt=said["apt"],
        systemd=said["systemd"],
        packages=frozenset(said["packages"]),
        users=frozenset(said["users"]),
        units=frozenset(said["units"]),
        paths={name: Found(**found) for name, found in said["paths"].items() if found},
        keys=frozenset(said["keys"]),
        memory_mb=said["memory_mb"],
        resolvers=tuple(said["resolvers"]),
        swap=said["swap"],
    )
