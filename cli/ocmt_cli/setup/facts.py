"""The facts of a host, read in one call, from which alone the plan is computed."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from ocmt_cli.deploy.host_failures import answer_of
from ocmt_cli.deploy.program import packed, python_argv
from ocmt_cli.deploy.remote import Host


@dataclass(frozen=True, slots=True)
class Found:
    """A file or folder on the host."""

    sha256: str
    """The content's SHA-256, in hexadecimal; empty for a folder."""
    mode: int
    group: str


@dataclass(frozen=True, slots=True)
class Listening:
    port: int
    """For the protocol `ip`, the number of the IP protocol."""
    protocol: str
    program: str
    """Empty for the kernel's own ports."""

    def __str__(self) -> str:
        by = f" ({self.program})" if self.program else ""
        if self.protocol == "ip":
            return f"IP protocol {self.port}{by}"
        return f"{self.port}/{self.protocol}{by}"


@dataclass(frozen=True, slots=True)
class HostFacts:
    apt: bool
    systemd: bool
    """Whether systemd is running, not only installed."""
    packages: frozenset[str]
    users: frozenset[str]
    units: frozenset[str]
    """The enabled units."""
    paths: dict[str, Found]
    """The requested paths that exist."""
    texts: dict[str, str]
    """The content of the requested files that exist."""
    keys: frozenset[str]
    """Lines of the deploy user's authorized_keys."""
    memory_mb: int
    resolvers: tuple[str, ...]
    """Addresses of the DNS servers of the host, and so of its containers."""
    swap: bool
    """Whether the host has swap on a disk."""
    listening: tuple[Listening, ...]
    """Ports that other machines can reach unless a firewall blocks them."""
    time: float
    """The host's clock, in seconds since 1970."""
    ssh_port: int | None
    """The host's port of this ssh connection; `None` if sudo hides it."""
    firewall_loaded: bool
    """Whether the kernel has OCMT's rules, or older ones of OCMT."""
    stale_units: bool
    """Whether a unit's file has changed since systemd read it."""


def gather(
    host: Host,
    *,
    packages: Sequence[str],
    users: Sequence[str],
    units: Sequence[str],
    paths: Sequence[PurePosixPath],
    texts: Sequence[PurePosixPath],
    keys: PurePosixPath,
) -> HostFacts:
    """Read the facts. Raises `HostFailed`, for example if the host lacks Python."""
    asked = json.dumps(
        {
            "packages": list(packages),
            "users": list(users),
            "units": list(units),
            "paths": [str(path) for path in paths],
            "texts": [str(path) for path in texts],
            "keys": str(keys),
        }
    )
    done = host.run(
        python_argv("ocmt_cli.setup.hostside.probe"),
        step="read its facts",
        stdin=packed("setup/hostside") + asked.encode(),
        check=False,
        timeout_s=60,
    )
    if done.code != 0:
        raise host.failure(done.code, done.stderr.strip() or done.stdout, "read its facts")
    said = answer_of(host.name, "read its facts", done.stdout)
    return HostFacts(
        apt=said["apt"],
        systemd=said["systemd"],
        packages=frozenset(said["packages"]),
        users=frozenset(said["users"]),
        units=frozenset(said["units"]),
        paths={name: Found(**found) for name, found in said["paths"].items() if found},
        texts={name: text for name, text in said["texts"].items() if text is not None},
        keys=frozenset(said["keys"]),
        memory_mb=said["memory_mb"],
        resolvers=tuple(said["resolvers"]),
        swap=said["swap"],
        listening=tuple(Listening(**one) for one in said["listening"]),
        time=said["time"],
        ssh_port=said["ssh_port"],
        firewall_loaded=said["firewall_loaded"],
        stale_units=said["stale_units"],
    )
