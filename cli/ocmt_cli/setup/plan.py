"""Computes the changes that bring a host to the inventory's state from its facts. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from ocmt_cli.deploy.inventory import HostEntry, Inventory, Role
from ocmt_cli.failure import CommandFailed
from ocmt_cli.setup import files, front, tls
from ocmt_cli.setup.changes import Change, Run, Step, Write, write_if_different
from ocmt_cli.setup.facts import HostFacts
from ocmt_cli.setup.firewall import FIREWALL_UNIT as FIREWALL_SERVICE
from ocmt_cli.setup.firewall import NFTABLES_DROP_IN, firewall, openings, shut

_SYSTEM = PurePosixPath("/etc/systemd/system")
FIREWALL = PurePosixPath("/etc/ocmt/firewall.nft")
FIREWALL_UNIT = "ocmt-firewall.service"
_FIREWALL_UNITS = {
    FIREWALL_UNIT: FIREWALL_SERVICE,
    "nftables.service.d/ocmt.conf": NFTABLES_DROP_IN,
}
ZRAM = PurePosixPath("/etc/default/zramswap")
PULL_INVENTORY = PurePosixPath("/etc/ocmt/ocmt.toml")
PULL_SIGNERS = PurePosixPath("/etc/ocmt/allowed_signers")
PULL_KEY = PurePosixPath("/etc/ocmt/deploy_key")
_STARTED = (".socket", ".timer")
SWAP_FILE = PurePosixPath("/swapfile")
SWAP_UNIT = "swapfile.swap"
_MAKE_SWAP = (
    'set -e; umask 077; trap \'rm -f "$1.new"\' EXIT; fallocate -l "$2" "$1.new"; '
    'mkswap "$1.new"; mv "$1.new" "$1"'
)


@dataclass(frozen=True, slots=True)
class Secrets:
    """New secrets, written only to a host that has none."""

    token: str
    jwt: str
    vault: str
    tls: Mapping[Role, Mapping[str, str]] = field(default_factory=dict, repr=False)
    """Name → text of the files in TLS_DIR, for each server that has one."""


def packages(host: HostEntry, *, pulls: bool) -> list[str]:
    """The packages that the host's roles need."""
    wanted = ["python3", "python3-venv", "rsync", "nftables"]
    if pulls:
        wanted.append("git")
    if "agent" in host.roles:
        wanted += ["docker.io", "zram-tools"]
    return wanted


def authorized_keys(host: HostEntry) -> PurePosixPath:
    """The deploy user's authorized_keys; a home folder is assumed to be in /home."""
    home = PurePosixPath("/root") if host.user == "root" else PurePosixPath("/home") / host.user
    return host.path(home / ".ssh" / "authorized_keys")


def asked_units(inventory: Inventory, host: HostEntry) -> list[str]:
    """The units of which the plan needs to know whether they are enabled."""
    started = [name for name in files.units(inventory, host) if name.endswith(_STARTED)]
    return [*started, FIREWALL_UNIT, "nftables.service", SWAP_UNIT, "docker.service"]


def asked_paths(inventory: Inventory, host: HostEntry) -> list[PurePosixPath]:
    """The paths whose facts the plan needs."""
    below = [_SYSTEM / name for name in files.units(inventory, host)]
    below += [FIREWALL, *(_SYSTEM / name for name in _FIREWALL_UNITS), ZRAM, SWAP_FILE]
    below += [_SYSTEM / SWAP_UNIT, PULL_INVENTORY, PULL_SIGNERS, PULL_KEY]
    below += [inventory.pull.checkout / ".git"]
    paths = [host.path(place) for place in below]
    paths += [*_folders(inventory, host), *front.asked_paths(inventory, host)]
    paths += tls.asked_paths(inventory, host)
    return paths + [inventory.component_path(host, role) / ".env" for role in host.roles]


def asked_texts(host: HostEntry) -> list[PurePosixPath]:
    """The operator's files to which OCMT adds settings."""
    return [host.path(front.CADDYFILE), ZRAM]


def _folders(inventory: Inventory, host: HostEntry) -> dict[PurePosixPath, int]:
    """Path → mode of the folders to create."""
    wanted = {inventory.component_path(host, role): 0o755 for role in host.roles}
    if "agent" in host.roles:
        wanted[host.path(inventory.agent.data)] = 0o700
    return wanted


def plan(
    facts: HostFacts,
    *,
    inventory: Inventory,
    host: HostEntry,
    secrets: Secrets,
    public_key: str,
) -> list[Change]:
    """The changes in order; only remarks if the host is up to date.

    A host with a root folder shares its machine with others, so the machine's packages, users, swap
    and firewall are left alone, with a remark. Raises `CommandFailed`.
    """
    whole = host.root == PurePosixPath("/")
    systemd = facts.systemd and host.supervisor == "systemd" and whole
    changes: list[Change] = []
    if whole:
        changes += _machine(facts, inventory=inventory, host=host)
    else:
        changes.append(
            Change(f"packages, users, swap: not changed ({host.root} is a folder of a machine)")
        )
    changes += _access(facts, host=host, public_key=public_key)
    changes += [
        Change(f"make {path}", (Run(("mkdir", "-p", "-m", f"{mode:o}", str(path))),))
        for path, mode in _folders(inventory, host).items()
        if str(path) not in facts.paths
    ]
    changes += tls.changes(facts, inventory=inventory, host=host, texts=secrets.tls)
    changes += _env_files(facts, inventory=inventory, host=host, secrets=secrets)
    if inventory.pull.source:
        changes += _pull(facts, inventory=inventory, host=host)
    changes += _units(facts, inventory=inventory, host=host, systemd=systemd)
    changes += front.front(facts, inventory=inventory, host=host, systemd=systemd)
    # Last, so that the rest is complete if a rule blocks the operator.
    changes += _firewall(facts, inventory=inventory, host=host, systemd=systemd)
    if not systemd:
        changes.append(Change("enabling units: skipped, since this host does not run systemd"))
    return changes


def _machine(facts: HostFacts, *, inventory: Inventory, host: HostEntry) -> list[Change]:
    changes: list[Change] = []
    wanted = packages(host, pulls=bool(inventory.pull.source))
    if {"mgmt", "ui"} & set(host.roles) and files.caddyfile(inventory, host):
        wanted.append(front.front_of(facts))
    missing = sorted(set(wanted) - facts.packages)
    if missing and facts.apt:
        apt = ("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y")
        install = (*apt, "install", "--no-install-recommends", *missing)
        changes.append(
            Change(f"install {', '.join(missing)}", (Run((*apt, "update")), Run(install)))
        )
    elif missing:
        changes.append(
            Change(f"packages: the host has no apt; install {', '.join(missing)} by hand")
        )
    user = inventory.deploy.service_user
    if "mgmt" in host.roles and host.supervisor == "systemd" and user not in facts.users:
        add = ("useradd", "--system", "--user-group", "--no-create-home", "--shell",
               "/usr/sbin/nologin", user)  # fmt: skip
        changes.append(Change(f"make the user {user}", (Run(add),)))
    if "agent" in host.roles:
        changes += _memory(facts)
    return changes


def _memory(facts: HostFacts) -> list[Change]:
    """The changes for zram and for a swap file of the memory's size, at most 32 GB.

    The operator's own settings and swap on disk are left as they are.
    """
    changes: list[Change] = []
    there, wanted = (_settings(text) for text in (facts.texts.get(str(ZRAM), ""), files.ZRAM))
    if not there:
        # There is no file, or the package's, with all settings commented out.
        replaces = str(ZRAM) in facts.paths
        restart = (Run(("systemctl", "restart", "zramswap.service")),) if facts.systemd else ()
        write = Write(ZRAM, files.ZRAM, 0o644, replaces)
        changes.append(Change("swap compressed in RAM (zram), before the disk", (write, *restart)))
    elif there != wanted:
        changes.append(
            Change(
                f"zram: {ZRAM} has other settings ({', '.join(sorted(there))}) and is not changed; "
                f"OCMT's would be {', '.join(sorted(wanted))}"
            )
        )
    unit = write_if_different(facts, _SYSTEM / SWAP_UNIT, files.SWAP_UNIT, 0o644)
    has_file = str(SWAP_FILE) in facts.paths
    if facts.swap or (has_file and unit is not None):  # the operator's file
        return changes
    if not has_file:
        size = min(facts.memory_mb, 32 * 1024)
        make = Run(("sh", "-c", _MAKE_SWAP, "sh", str(SWAP_FILE), f"{size}M"))
        # The unit first, since a swap file without it is not OCMT's.
        steps = (make,) if unit is None else (unit, make)
        changes.append(Change(f"swap of {size} MB in {SWAP_FILE}", steps))
    if facts.systemd and SWAP_UNIT not in facts.units:
        changes.append(_enable(SWAP_UNIT))
    return changes


def _settings(text: str) -> set[str]:
    """The lines of a settings file, without comments."""
    lines = {line.strip() for line in text.splitlines()}
    return {line for line in lines if line and not line.startswith("#")}


def _access(facts: HostFacts, *, host: HostEntry, public_key: str) -> list[Change]:
    # The operator may have added options such as from= before the key.
    known = {word for line in facts.keys if not line.startswith("#") for word in line.split()}
    if not public_key or set(public_key.split()[1:2]) & known:
        return []
    keys = authorized_keys(host)
    add = (
        'set -e; umask 077; d=$(dirname "$1"); home=$(dirname "$d"); '
        '[ -d "$d" ] || { mkdir -p "$d"; chown --reference="$home" "$d"; }; '
        '[ -e "$1" ] || { : > "$1"; chown --reference="$home" "$1"; }; '
        '[ -z "$(tail -c 1 "$1")" ] || echo >> "$1"; cat >> "$1"'
    )
    return [
        Change(
            f"add the deploy key to {keys}",
            (Run(("sh", "-c", add, "sh", str(keys)), f"{public_key}\n"),),
        )
    ]


def _env_files(
    facts: HostFacts, *, inventory: Inventory, host: HostEntry, secrets: Secrets
) -> list[Change]:
    """The changes that write missing `.env` files; existing ones belong to the operator."""
    changes: list[Change] = []
    for role in host.roles:
        path = inventory.component_path(host, role) / ".env"
        if role == "ui" or str(path) in facts.paths:
            continue
        if role == "mgmt":
            text = files.management_env(
                inventory, host, token=secrets.token, jwt=secrets.jwt, vault=secrets.vault
            )
        else:
            text = files.agent_env(inventory, host, token=secrets.token)
        changes.append(
            Change(
                f"write {path} with new secrets (only root reads it)",
                (Write(path, text, 0o600, only_new=True),),
            )
        )
    return changes


def _pull(facts: HostFacts, *, inventory: Inventory, host: HostEntry) -> list[Change]:
    """The changes for `ocmt deploy --pull`: a checkout, its inventory, its signers, and a timer."""
    settings = inventory.pull
    text = inventory.file.read_text(encoding="utf-8")
    key, checkout = host.path(PULL_KEY), host.path(settings.checkout)
    changes: list[Change] = []
    if str(key) not in facts.paths:
        make = ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"ocmt {host.name}")
        steps = (Run(("mkdir", "-p", str(key.parent))), Run((*make, "-f", str(key))))
        changes.append(
            Change(f"make a deploy key ({key}.pub, for a repository that is not public)", steps)
        )
    wanted = [write_if_different(facts, host.path(PULL_INVENTORY), _for_pulling(text), 0o644)]
    if settings.signers is not None:
        signers = settings.signers.read_text(encoding="utf-8")
        wanted.append(write_if_different(facts, host.path(PULL_SIGNERS), signers, 0o644))
    if writes := [one for one in wanted if one is not None]:
        names = ", ".join(str(one.path) for one in writes)
        changes.append(
            Change(
                f"write the inventory and signers for deploys by the server: {names}", tuple(writes)
            )
        )
    if f"{checkout}/.git" not in facts.paths:
        ssh = f"ssh -i {key} -o BatchMode=yes"
        clone = ("git", "-c", f"core.sshCommand={ssh}", "clone", "--quiet", settings.source)
        changes.append(
            Change(f"clone {settings.source} to {checkout}", (Run((*clone, str(checkout))),))
        )
    return changes


def _for_pulling(inventory: str) -> str:
    """The inventory's text for the server, on which the signers' file is beside it."""
    return re.sub(r"^signers *=.*$", f'signers = "{PULL_SIGNERS.name}"', inventory, flags=re.M)


def _units(
    facts: HostFacts, *, inventory: Inventory, host: HostEntry, systemd: bool
) -> list[Change]:
    changes: list[Change] = []
    wanted = files.units(inventory, host)
    steps = [
        write
        for name, text in wanted.items()
        if (write := write_if_different(facts, host.path(_SYSTEM / name), text, 0o644)) is not None
    ]
    reload = (Run(("systemctl", "daemon-reload")),) if systemd else ()
    if steps:
        names = ", ".join(step.path.name for step in steps)
        changes.append(Change(f"write the units {names}", (*steps, *reload)))
    elif reload and facts.stale_units:
        changes.append(Change("systemd: read the changed units", reload))
    if systemd:
        started = [name for name in wanted if name.endswith(_STARTED)]
        changes += [_enable(name) for name in started if name not in facts.units]
        if "agent" in host.roles and "docker.service" not in facts.units:
            changes.append(_enable("docker.service"))
    return changes


def _firewall(
    facts: HostFacts, *, inventory: Inventory, host: HostEntry, systemd: bool
) -> list[Change]:
    changes: list[Change] = []
    text = firewall(inventory, host, facts.resolvers)
    rules = write_if_different(facts, host.path(FIREWALL), text, 0o644)
    units = [
        write
        for name, unit in _FIREWALL_UNITS.items()
        if (write := write_if_different(facts, host.path(_SYSTEM / name), unit, 0o644))
    ]
    steps: list[Step] = []
    if systemd and (rules is not None or not facts.firewall_loaded):
        # Loaded before they are written: if loading fails, the next setup repeats it, and rules
        # that block the operator are gone after a reboot.
        steps += [Run(("nft", *check, "-f", "-"), text) for check in (("-c",), ())]
    steps += [*([rules] if rules is not None else []), *units]
    if units and systemd:
        steps.append(Run(("systemctl", "daemon-reload")))
    if steps:
        what = _let_in_and_shut(facts, inventory=inventory, host=host, loaded=systemd)
        changes.append(Change(f"firewall: {what}", tuple(steps)))
    if systemd and FIREWALL_UNIT not in facts.units:
        changes.append(_enable(FIREWALL_UNIT))
    return changes


def _let_in_and_shut(
    facts: HostFacts, *, inventory: Inventory, host: HostEntry, loaded: bool
) -> str:
    """Describe the rules' effect. Raises `CommandFailed` if they would block ssh."""
    let_in = f"allow only {', '.join(map(str, openings(inventory, host)))}"
    closed = shut(facts.listening, inventory=inventory, host=host) if loaded else []
    if not closed:
        return let_in
    listening = [one for one in facts.listening if one.protocol == "tcp"]
    servers = [one for one in listening if one.port == facts.ssh_port] or [
        one for one in listening if one.program == "sshd"
    ]
    if servers and all(one in closed for one in servers):
        ports = " and ".join(map(str, servers))
        raise CommandFailed(
            f"{host.name}: the firewall would block ssh: it is at {ports}, and "
            f"hosts.{host.name}.ssh_port is {host.ssh_port}. If a router maps one to the other, "
            f'add allow = ["{servers[0].port}/tcp"] to [firewall] in {inventory.file}.'
        )
    return (
        f"{let_in}. This blocks {', '.join(map(str, closed))}; to keep one open, add its port, or "
        f"the network that it is for, to [firewall] allow in {inventory.file}"
    )


def _enable(unit: str) -> Change:
    steps = (Run(("systemctl", "daemon-reload")), Run(("systemctl", "enable", "--now", unit)))
    return Change(f"start {unit}, now and at boot", steps)
