"""What a host has already, asked in one go; the plan is computed from this alone."""

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
    """Empty for a folder."""
    mode: int


@dataclass(frozen=True, slots=True)
class Listening:
    port: int
    protocol: str
    program: str
    """Empty for the kernel's own."""

    def __str__(self) -> str:
        by = f" ({self.program})" if self.program else ""
        return f"{self.port}/{self.protocol}{by}"


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
    texts: dict[str, str]
    """What is in those of the asked files that are there; they may be the operator's."""
    keys: frozenset[str]
    """Lines of the deploy user's authorized_keys."""
    memory_mb: int
    resolvers: tuple[str, ...]
    """Addresses of the DNS servers that the host, and so its containers, are given."""
    swap: bool
    """Whether there is swap on a disk."""
    listening: tuple[Listening, ...]
    """Ports that other machines can reach when no firewall shuts them."""


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
    """Ask the host. Raises `CommandFailed` when it is not reached or has no Python."""
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
        step="look",
        stdin=packed("setup/hostside") + asked.encode(),
        check=False,
        timeout_s=60,
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
        texts={name: text for name, text in said["texts"].items() if text is not None},
        keys=frozenset(said["keys"]),
        memory_mb=said["memory_mb"],
        resolvers=tuple(said["resolvers"]),
        swap=said["swap"],
        listening=tuple(Listening(**one) for one in said["listening"]),
    )
