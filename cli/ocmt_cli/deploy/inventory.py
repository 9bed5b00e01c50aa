"""`ocmt.toml`, the inventory: the hosts, their roles and settings.

It is validated as a whole when it is loaded, so that no mistake appears in the middle of a deploy.
Each mistake is reported with the file, the key and the cure.
"""

import difflib
import ipaddress
import re
import tomllib
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, Self

from ocmt_common.loopback import is_loopback
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from ocmt_cli.deploy import firewall_allow
from ocmt_cli.failure import CommandFailed

Role = Literal["mgmt", "agent", "ui"]
# The order of a deploy: management works with older agent servers, and the page needs both.
ORDER: tuple[Role, ...] = ("mgmt", "agent", "ui")
DEFAULT_FILE = Path("ocmt.toml")

Port = Annotated[int, Field(ge=1, le=65535)]
_HOST_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_ADDRESS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_DOMAIN = re.compile(r"(?=.{4,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}")


def _plain_path(path: PurePosixPath) -> PurePosixPath:
    # Paths are passed through ssh's shell and rsync, so they must not need quoting.
    if not re.fullmatch(r"/[A-Za-z0-9._/-]*", str(path)) or ".." in path.parts:
        raise ValueError("must be absolute, of letters, digits, dot, dash, underscore and slash")
    return path


def _domain(value: str) -> str:
    if value and not _DOMAIN.fullmatch(value):
        raise ValueError("is not a domain name such as app.example.com (lower case)")
    return value


PlainPath = Annotated[PurePosixPath, AfterValidator(_plain_path)]
Domain = Annotated[str, AfterValidator(_domain)]


class InventoryError(CommandFailed):
    """The inventory is invalid. `str()` has one line per mistake."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HostEntry(_Table):
    """A machine, `[hosts.NAME]`."""

    name: str
    """The table's name, used in messages."""
    address: str
    ssh_port: Port = 22
    user: str = "root"
    """The user for ssh; unless root, it needs `sudo` without a password."""
    roles: tuple[Role, ...] = Field(min_length=1)
    identity_file: Path | None = None
    """A private key; `None` to use ssh's own configuration."""
    root: PlainPath = PurePosixPath("/")
    """The folder above all paths on the host; tests use one per host."""
    supervisor: Literal["systemd", "pidfile"] = "systemd"
    """What runs the servers; `pidfile` is for machines and containers without systemd."""

    @field_validator("address")
    @classmethod
    def _one_address(cls, value: str) -> str:
        bare = value[1:-1] if value.startswith("[") and value.endswith("]") else value
        if ":" in bare:
            try:
                ipaddress.IPv6Address(bare)
            except ValueError as error:
                raise ValueError(
                    "is not a host name or an IP address; a port goes into ssh_port"
                ) from error
        elif bare != value or not _ADDRESS.fullmatch(value):
            raise ValueError("is not a host name or an IP address")
        return bare

    @field_validator("user")
    @classmethod
    def _a_user(cls, value: str) -> str:
        if not _USER.fullmatch(value):
            raise ValueError("is not a user name")
        return value

    @field_validator("roles")
    @classmethod
    def _once_each(cls, value: tuple[Role, ...]) -> tuple[Role, ...]:
        if len(set(value)) != len(value):
            raise ValueError("names a role twice")
        return value

    def path(self, place: PurePosixPath) -> PurePosixPath:
        """The absolute path `place` below this host's root folder."""
        return self.root / place.relative_to("/")


class MgmtSettings(_Table):
    path: PlainPath = PurePosixPath("/opt/management-server")
    bind: str = "127.0.0.1"
    """The address the server listens on; Caddy or nginx on the host forwards to it."""
    port: Port = 3000
    tls_port: Port = 3443
    """The port for an agent server on another host."""
    domain: Domain = ""
    """The public domain, such as api.example.com; empty for no front."""

    @model_validator(mode="after")
    def _ports_differ(self) -> Self:
        if self.port == self.tls_port:
            raise ValueError("port and tls_port must differ")
        return self


class AgentComponentSettings(_Table):
    path: PlainPath = PurePosixPath("/opt/ocmt/agent-server")
    data: PlainPath = PurePosixPath("/opt/ocmt/data")
    """The agents' state (DATA_DIR). A deploy never touches it."""
    bind: str = "127.0.0.1"
    """A loopback address, since the port is plain http."""
    port: Port = 4000
    tls_port: Port = 4443
    """The port for management on another host."""
    relay_bind: str = ""
    """The relay's address; empty for that of the containers' bridge, which Docker creates later."""
    relay_port: Port = 4001

    @model_validator(mode="after")
    def _ports_differ(self) -> Self:
        if len({self.port, self.relay_port, self.tls_port}) < 3:
            raise ValueError("port, relay_port and tls_port must differ")
        return self

    @field_validator("bind")
    @classmethod
    def _this_machine_only(cls, value: str) -> str:
        if not is_loopback(value):
            raise ValueError(
                "must be 127.0.0.1 or ::1, since that port is plain http; remove it: management on "
                "another host connects to tls_port, which `./ocmt setup` prepares"
            )
        return value


class UiSettings(_Table):
    path: PlainPath = PurePosixPath("/var/www/ocmt")
    """The folder of releases; the web server's root is `current` in it."""
    domain: Domain = ""
    """The public domain, such as app.example.com; empty for no front."""


class Policy(_Table):
    """`[deploy]`: timeouts, how many hosts are changed at once and how many releases are kept."""

    keep_releases: Annotated[int, Field(ge=2, le=100)] = 5
    gate_timeout_s: Annotated[float, Field(gt=0, le=3600)] = 60
    """Seconds that a new release may take to become healthy."""
    gate_answers: Annotated[int, Field(ge=1, le=100)] = 3
    """Consecutive healthy answers to pass the health check."""
    drain_s: Annotated[float, Field(ge=0, le=3600)] = 30
    """Seconds that the old release may take to finish its requests before it is killed."""
    hosts_at_once: Annotated[int, Field(ge=1, le=100)] = 5
    """How many hosts of a component are deployed at once, after the first."""
    min_free_mb: Annotated[int, Field(ge=0)] = 500
    max_clock_skew_s: Annotated[float, Field(gt=0)] = 30
    known_hosts: Path | None = None
    """The file of the hosts' keys; `None` for the user's known_hosts."""
    service_user: str = "ocmt"
    """The user that servers run as with systemd."""


class Pull(_Table):
    """`[pull]`: the settings of servers that deploy themselves (`ocmt deploy --pull`)."""

    source: str = ""
    """The repository's address; if empty, `ocmt setup` sets up no timer."""
    checkout: PlainPath = PurePosixPath("/opt/ocmt/source")
    every_min: Annotated[int, Field(ge=1, le=1440)] = 5
    branch: str = "main"
    """The branch to deploy if there are no signers."""
    tags: str = "v*"
    """The pattern of tags whose newest is deployed, if there are signers."""
    signers: Path | None = None
    """The file of accepted signers, in ssh-keygen(1)'s format ALLOWED SIGNERS."""

    @field_validator("source", "branch", "tags")
    @classmethod
    def _no_option(cls, value: str) -> str:
        if value.startswith("-") or any(one.isspace() for one in value):
            raise ValueError("must not begin with a dash or have spaces")
        return value


class Firewall(_Table):
    """`[firewall]`: connections that the hosts allow in addition to OCMT's."""

    allow: tuple[Annotated[firewall_allow.Allowed, BeforeValidator(firewall_allow.parse)], ...] = ()
    """Entries such as "9100/tcp", "192.168.1.0/24" or "9100/tcp from 192.168.1.0/24"."""


class Inventory(_Table):
    file: Path
    hosts: dict[str, HostEntry] = Field(min_length=1)
    mgmt: MgmtSettings = MgmtSettings()
    agent: AgentComponentSettings = AgentComponentSettings()
    ui: UiSettings = UiSettings()
    deploy: Policy = Policy()
    firewall: Firewall = Firewall()
    pull: Pull = Pull()

    @model_validator(mode="after")
    def _whole(self) -> Self:
        places = [self.mgmt.path, self.agent.path, self.agent.data, self.ui.path]
        for place in places:
            for other in places:
                if place is not other and place.is_relative_to(other):
                    raise ValueError(f"paths overlap: {place} is in {other}; give each its own")
        agents = [host.name for host in self.hosts.values() if "agent" in host.roles]
        if len(agents) > 1:
            raise ValueError(
                f"hosts {' and '.join(agents)} have the role agent, but several agent hosts are "
                f"not supported yet: {agents[0]} would have every agent. Keep the role on one host"
            )
        taken: dict[tuple[str, int, PurePosixPath], str] = {}
        for host in self.hosts.values():
            where = (host.address, host.ssh_port, host.root)
            if where in taken:
                raise ValueError(
                    f"hosts {taken[where]} and {host.name} are the same machine; make them one "
                    "host with the roles of both"
                )
            taken[where] = host.name
        return self

    def with_role(self, role: Role) -> list[HostEntry]:
        """The hosts with `role`, in the file's order, which deploys follow."""
        return [host for host in self.hosts.values() if role in host.roles]

    def component_path(self, host: HostEntry, role: Role) -> PurePosixPath:
        """A component's folder on a host, with `.env`, `releases/`, `current` and the journal."""
        places = {"mgmt": self.mgmt.path, "agent": self.agent.path, "ui": self.ui.path}
        return host.path(places[role])

    def host(self, name: str) -> HostEntry:
        """The host with this name. Raises `InventoryError`."""
        if name in self.hosts:
            return self.hosts[name]
        known = ", ".join(self.hosts)
        raise InventoryError(f"{self.file} has no host {name!r}. It has: {known}.", exit_code=2)


def load_inventory(file: Path = DEFAULT_FILE) -> Inventory:
    """Read and validate `file`. Raises `InventoryError`."""
    try:
        read = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InventoryError(
            f"{file} does not exist. Copy deploy/ocmt.example.toml to it and fill in your servers, "
            "or name another file with --inventory.",
            exit_code=2,
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InventoryError(f"{file} cannot be read: {error}.", exit_code=2) from error
    except tomllib.TOMLDecodeError as error:
        raise InventoryError(f"{file} is not TOML: {error}.", exit_code=2) from error
    hosts = read.get("hosts")
    problems: list[str] = []
    if isinstance(hosts, dict):
        for name, entry in hosts.items():
            if not _HOST_NAME.fullmatch(name):
                problems.append(
                    f"{file}: hosts.{name}: a host's name may have a-z, 0-9 and -, and starts with "
                    "a letter or digit."
                )
            if isinstance(entry, dict):
                entry["name"] = name
                if isinstance(entry.get("identity_file"), str):
                    entry["identity_file"] = _beside(file, entry["identity_file"])
    policy = read.get("deploy")
    if isinstance(policy, dict) and isinstance(policy.get("known_hosts"), str):
        policy["known_hosts"] = _beside(file, policy["known_hosts"])
    pull = read.get("pull")
    if isinstance(pull, dict) and isinstance(pull.get("signers"), str):
        pull["signers"] = _beside(file, pull["signers"])
    try:
        inventory = Inventory.model_validate({**read, "file": file})
    except ValidationError as error:
        problems += [
            _told(file, item["loc"], item["type"], item["msg"])
            for item in error.errors(include_input=False, include_url=False)
        ]
    if problems:
        raise InventoryError("\n".join(problems), exit_code=2)
    return inventory


def _beside(file: Path, text: str) -> str:
    """Resolve a path from the inventory, which is relative to the inventory's folder."""
    return str(file.resolve().parent / Path(text).expanduser())


def _told(file: Path, place: tuple[int | str, ...], kind: str, message: str) -> str:
    key = ".".join(str(part) for part in place) or "the file"
    if kind == "missing":
        return f"{file}: {key} is missing. Add it; deploy/ocmt.example.toml shows how."
    if kind == "extra_forbidden":
        close = difflib.get_close_matches(str(place[-1]), _known_keys(place), 1, 0.6)
        hint = f"did you mean {close[0]}?" if close else "remove it."
        return f"{file}: {key} is not a key; {hint}"
    return f"{file}: {key}: {message.removeprefix('Value error, ')}."


def _known_keys(place: tuple[int | str, ...]) -> list[str]:
    tables: dict[str, type[BaseModel]] = {
        "hosts": HostEntry,
        "mgmt": MgmtSettings,
        "agent": AgentComponentSettings,
        "ui": UiSettings,
        "deploy": Policy,
        "firewall": Firewall,
        "pull": Pull,
    }
    model: type[BaseModel] = tables.get(str(place[0]), Inventory) if len(place) > 1 else Inventory
    return list(model.model_fields)
