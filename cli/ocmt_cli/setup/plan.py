"""Which changes bring a host to what the inventory says. Pure: facts in, changes out."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from ocmt_common.host_credentials import CA_FILE, HOST_FILE, TOKENS_FILE

from ocmt_cli.deploy.inventory import HostEntry, Inventory, Role
from ocmt_cli.setup import files
from ocmt_cli.setup.facts import HostFacts
from ocmt_cli.setup.firewall import FIREWALL_UNIT as FIREWALL_SERVICE
from ocmt_cli.setup.firewall import firewall
from ocmt_cli.trust.links import TLS_FOLDER, tls_roles

_SYSTEM = PurePosixPath("/etc/systemd/system")
FIREWALL = PurePosixPath("/etc/ocmt/firewall.nft")
FIREWALL_UNIT = "ocmt-firewall.service"
CADDYFILE = PurePosixPath("/etc/caddy/Caddyfile")
NGINX = PurePosixPath("/etc/nginx/conf.d/ocmt.conf")
ZRAM = PurePosixPath("/etc/default/zramswap")
PULL_INVENTORY = PurePosixPath("/etc/ocmt/ocmt.toml")
PULL_SIGNERS = PurePosixPath("/etc/ocmt/allowed_signers")
PULL_KEY = PurePosixPath("/etc/ocmt/deploy_key")
_STARTED = (".socket", ".timer")
TLS_FILES = (HOST_FILE, CA_FILE, TOKENS_FILE)
TLS_MODE = 0o640
SWAP_FILE = PurePosixPath("/swapfile")
SWAP_UNIT = "swapfile.swap"


@dataclass(frozen=True, slots=True)
class Run:
    argv: tuple[str, ...]
    stdin: str = ""


@dataclass(frozen=True, slots=True)
class Write:
    path: PurePosixPath
    text: str
    mode: int


@dataclass(frozen=True, slots=True)
class Change:
    """One line of the plan; without steps it only tells why nothing is done."""

    what: str
    steps: tuple[Run | Write, ...] = ()


@dataclass(frozen=True, slots=True)
class Secrets:
    """Made by the caller, written only where a host has none yet."""

    token: str
    jwt: str
    vault: str
    tls: Mapping[Role, Mapping[str, str]] = field(default_factory=dict)
    """Name → text of the files in TLS_DIR, for each server that has one."""


def packages(host: HostEntry, *, pulls: bool) -> list[str]:
    """What the host's roles need beside Debian's or Ubuntu's own."""
    wanted = ["python3", "python3-venv", "rsync", "nftables"]
    if pulls:
        wanted.append("git")
    if "agent" in host.roles:
        wanted += ["docker.io", "zram-tools"]
    return wanted


def front_of(facts: HostFacts) -> str:
    """nginx where it is there already, Caddy otherwise: two cannot have port 443."""
    return "nginx" if "nginx" in facts.packages and "caddy" not in facts.packages else "caddy"


def authorized_keys(host: HostEntry) -> PurePosixPath:
    home = PurePosixPath("/root") if host.user == "root" else PurePosixPath("/home") / host.user
    return host.path(home / ".ssh" / "authorized_keys")


def asked_units(inventory: Inventory, host: HostEntry) -> list[str]:
    started = [name for name in files.units(inventory, host) if name.endswith(_STARTED)]
    return [*started, FIREWALL_UNIT, SWAP_UNIT, "docker.service"]


def asked_paths(inventory: Inventory, host: HostEntry) -> list[PurePosixPath]:
    """Every path that the plan may want to know about."""
    below = [_SYSTEM / name for name in files.units(inventory, host)]
    below += [FIREWALL, _SYSTEM / FIREWALL_UNIT, CADDYFILE, NGINX, ZRAM, SWAP_FILE]
    below += [_SYSTEM / SWAP_UNIT, PULL_INVENTORY, PULL_SIGNERS, PULL_KEY]
    below += [inventory.pull.checkout / ".git"]
    folders = [host.path(place) for place in below]
    for path in _folders(inventory, host):
        folders.append(path)
    for role in tls_roles(inventory, host):
        folder = inventory.component_path(host, role) / TLS_FOLDER
        folders += [folder, *(folder / name for name in TLS_FILES)]
    return folders + [inventory.component_path(host, role) / ".env" for role in host.roles]


def _folders(inventory: Inventory, host: HostEntry) -> dict[PurePosixPath, int]:
    """Folder → mode."""
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
    """The changes in the order to make them; empty but for remarks when the host is as it should.

    A host below a root folder shares its machine with others: what is the machine's own (packages,
    users, swap, firewall) is left alone there, and said so.
    """
    whole = host.root == PurePosixPath("/")
    systemd = facts.systemd and host.supervisor == "systemd" and whole
    changes: list[Change] = []
    if whole:
        changes += _machine(facts, inventory=inventory, host=host)
    else:
        changes.append(Change(f"packages, users, swap: left alone ({host.root} is no machine)"))
    changes += _access(facts, host=host, public_key=public_key)
    changes += [
        Change(f"make {path}", (Run(("mkdir", "-p", "-m", f"{mode:o}", str(path))),))
        for path, mode in _folders(inventory, host).items()
        if str(path) not in facts.paths
    ]
    for role, texts in secrets.tls.items():
        changes += _tls_files(facts, inventory=inventory, host=host, role=role, texts=texts)
    changes += _env_files(facts, inventory=inventory, host=host, secrets=secrets)
    if inventory.pull.source:
        changes += _pull(facts, inventory=inventory, host=host)
    changes += _units(facts, inventory=inventory, host=host, systemd=systemd)
    changes += _front(facts, inventory=inventory, host=host, systemd=systemd)
    # The last: should a rule shut the operator out, all else is there.
    changes += _firewall(facts, inventory=inventory, host=host, systemd=systemd)
    if not systemd:
        changes.append(Change("enabling units: skipped, since systemd does not run this host"))
    return changes


def is_done(changes: Sequence[Change]) -> bool:
    return not any(change.steps for change in changes)


def _machine(facts: HostFacts, *, inventory: Inventory, host: HostEntry) -> list[Change]:
    changes: list[Change] = []
    wanted = packages(host, pulls=bool(inventory.pull.source))
    if {"mgmt", "ui"} & set(host.roles) and files.caddyfile(inventory, host):
        wanted.append(front_of(facts))
    missing = sorted(set(wanted) - facts.packages)
    if missing and facts.apt:
        apt = ("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y")
        install = (*apt, "install", "--no-install-recommends", *missing)
        changes.append(
            Change(f"install {', '.join(missing)}", (Run((*apt, "update")), Run(install)))
        )
    elif missing:
        changes.append(Change(f"packages: no apt here; install {', '.join(missing)} yourself"))
    user = inventory.deploy.service_user
    if "mgmt" in host.roles and host.supervisor == "systemd" and user not in facts.users:
        add = ("useradd", "--system", "--user-group", "--no-create-home", "--shell",
               "/usr/sbin/nologin", user)  # fmt: skip
        changes.append(Change(f"make the user {user}", (Run(add),)))
    if "agent" in host.roles:
        changes += _memory(facts)
    return changes


def _memory(facts: HostFacts) -> list[Change]:
    """Swap for the agents that sleep: as much as the machine has memory, 32 GB at most."""
    changes: list[Change] = []
    zram = _file(facts, ZRAM, files.ZRAM, 0o644)
    if zram is not None:
        restart = (Run(("systemctl", "restart", "zramswap.service")),) if facts.systemd else ()
        changes.append(Change("compress memory first (zram)", (zram, *restart)))
    if not facts.swap and str(SWAP_FILE) not in facts.paths:
        size = min(facts.memory_mb, 32 * 1024)
        make = f"umask 077; fallocate -l {size}M {SWAP_FILE} && mkswap {SWAP_FILE}"
        steps = (Run(("sh", "-c", make)), Write(_SYSTEM / SWAP_UNIT, files.SWAP_UNIT, 0o644))
        changes.append(Change(f"swap of {size} MB in {SWAP_FILE}", steps))
        if facts.systemd:
            changes.append(_enable(SWAP_UNIT))
    return changes


def _access(facts: HostFacts, *, host: HostEntry, public_key: str) -> list[Change]:
    if not public_key or public_key in facts.keys:
        return []
    keys = authorized_keys(host)
    add = (
        'umask 077; mkdir -p "$(dirname "$1")"; cat >> "$1"; '
        'chown -R --reference="$(dirname "$(dirname "$1")")" "$(dirname "$1")"'
    )
    return [
        Change(
            f"let the deploy key in ({keys})",
            (Run(("sh", "-c", add, "sh", str(keys)), f"{public_key}\n"),),
        )
    ]


def _tls_files(
    facts: HostFacts,
    *,
    inventory: Inventory,
    host: HostEntry,
    role: Role,
    texts: Mapping[str, str],
) -> list[Change]:
    """What a server follows while it runs. The folder hands its group down to its files."""
    folder = inventory.component_path(host, role) / TLS_FOLDER
    changes: list[Change] = []
    if str(folder) not in facts.paths:
        runs_as_another = role == "mgmt" and host.supervisor == "systemd"
        group = ("-g", inventory.deploy.service_user) if runs_as_another else ()
        make = ("install", "-d", "-m", "2750", *group, str(folder))
        changes.append(Change(f"make {folder}", (Run(make),)))
    writes = tuple(
        write
        for name, text in texts.items()
        if (write := _file(facts, folder / name, text, TLS_MODE)) is not None
    )
    if writes:
        names = ", ".join(write.path.name for write in writes)
        changes.append(Change(f"write {names} to {folder} (TLS with the other host)", writes))
    return changes


def _env_files(
    facts: HostFacts, *, inventory: Inventory, host: HostEntry, secrets: Secrets
) -> list[Change]:
    """Only where there is none: `.env` is the operator's."""
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
                f"write {path} with new secrets (only root reads it)", (Write(path, text, 0o600),)
            )
        )
    return changes


def _pull(facts: HostFacts, *, inventory: Inventory, host: HostEntry) -> list[Change]:
    """A checkout on the server, with the inventory and the signers beside the timer's unit."""
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
    wanted = [_file(facts, host.path(PULL_INVENTORY), _for_pulling(text), 0o644)]
    if settings.signers is not None:
        signers = settings.signers.read_text(encoding="utf-8")
        wanted.append(_file(facts, host.path(PULL_SIGNERS), signers, 0o644))
    if writes := [one for one in wanted if one is not None]:
        names = ", ".join(str(one.path) for one in writes)
        changes.append(Change(f"what the server deploys by itself: {names}", tuple(writes)))
    if f"{checkout}/.git" not in facts.paths:
        ssh = f"ssh -i {key} -o BatchMode=yes"
        clone = ("git", "-c", f"core.sshCommand={ssh}", "clone", "--quiet", settings.source)
        changes.append(
            Change(f"clone {settings.source} to {checkout}", (Run((*clone, str(checkout))),))
        )
    return changes


def _for_pulling(inventory: str) -> str:
    """The inventory as the server keeps it: the signers lie beside it."""
    return re.sub(r"^signers *=.*$", f'signers = "{PULL_SIGNERS.name}"', inventory, flags=re.M)


def _units(
    facts: HostFacts, *, inventory: Inventory, host: HostEntry, systemd: bool
) -> list[Change]:
    changes: list[Change] = []
    wanted = files.units(inventory, host)
    steps = [
        write
        for name, text in wanted.items()
        if (write := _file(facts, host.path(_SYSTEM / name), text, 0o644)) is not None
    ]
    if steps:
        names = ", ".join(step.path.name for step in steps)
        reload = (Run(("systemctl", "daemon-reload")),) if systemd else ()
        changes.append(Change(f"write the units {names}", (*steps, *reload)))
    if systemd:
        started = [name for name in wanted if name.endswith(_STARTED)]
        changes += [_enable(name) for name in started if name not in facts.units]
        if "agent" in host.roles and "docker.service" not in facts.units:
            changes.append(_enable("docker.service"))
    return changes


def _front(
    facts: HostFacts, *, inventory: Inventory, host: HostEntry, systemd: bool
) -> list[Change]:
    front = front_of(facts)
    check: tuple[str, ...]
    if front == "caddy":
        place, text = CADDYFILE, files.caddyfile(inventory, host)
        check = ("caddy", "validate", "--adapter", "caddyfile", "--config", str(host.path(place)))
    else:
        place, text = NGINX, files.nginx_conf(inventory, host)
        check = ("nginx", "-t")
    if not text:
        return []
    write = _file(facts, host.path(place), text, 0o644)
    if write is None:
        return []
    load = (Run(check), Run(("systemctl", "reload-or-restart", front))) if systemd else ()
    return [Change(f"{front}: {host.path(place)}", (write, *load))]


def _firewall(
    facts: HostFacts, *, inventory: Inventory, host: HostEntry, systemd: bool
) -> list[Change]:
    changes: list[Change] = []
    text = firewall(inventory, host, facts.resolvers)
    rules = _file(facts, host.path(FIREWALL), text, 0o644)
    unit = _file(facts, host.path(_SYSTEM / FIREWALL_UNIT), FIREWALL_SERVICE, 0o644)
    steps: tuple[Run | Write, ...] = tuple(one for one in (rules, unit) if one is not None)
    if steps:
        load: tuple[Run, ...] = ()
        if systemd:
            nft = ("nft", "-f", str(FIREWALL))
            load = (Run((nft[0], "-c", *nft[1:])), Run(nft), Run(("systemctl", "daemon-reload")))
        changes.append(Change("firewall: ssh, the front and the agents' port", (*steps, *load)))
    if systemd and FIREWALL_UNIT not in facts.units:
        changes.append(_enable(FIREWALL_UNIT))
    return changes


def _file(facts: HostFacts, path: PurePosixPath, text: str, mode: int) -> Write | None:
    """`None` when the file is there as it should be."""
    found = facts.paths.get(str(path))
    digest = hashlib.sha256(text.encode()).hexdigest()
    if found is not None and found.sha256 == digest and found.mode == mode:
        return None
    return Write(path, text, mode)


def _enable(unit: str) -> Change:
    steps = (Run(("systemctl", "daemon-reload")), Run(("systemctl", "enable", "--now", unit)))
    return Change(f"start {unit}, now and at boot", steps)
