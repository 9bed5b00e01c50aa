"""Three real sshd processes on loopback ports, each with a root folder and a host key."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx2
from ocmt_cli.checkout import DEFAULT_DATA
from ocmt_cli.deploy.deployer import Deployer, Report
from ocmt_cli.deploy.hostside.component import Component
from ocmt_cli.deploy.inventory import ORDER, Role, load_inventory
from ocmt_cli.deploy.rollback import rollback

from ocmt_testing.agent_server.gateway_program import stand_in_for_node
from ocmt_testing.needs import require
from ocmt_testing.ports import free_ports

Commit = Callable[[str, str, str], None]
"""Replaces a text in a file, and commits the change."""
BUILDS = DEFAULT_DATA / "builds"
"""Shared with the operator's deploys, so that equal content is not built again."""

SSHD = "/usr/sbin/sshd"
AUTH_TOKEN = "6f1d2c3b4a5968778695a4b3c2d1e0f0123456789abcdef0"
MGMT_ENV = """\
DATA_DIR={data}
JWT_SECRET=q8Zl1x7Vb3Nn5Mm2Kk9Jj4Hh6Gg0FfDd7Ss1Aa
VAULT_KEY=k1:{vault_key}
AGENT_SERVER_URL=http://127.0.0.1:{agent_port}
AGENT_AUTH_TOKEN={token}
BASE_URL=http://127.0.0.1:{port}
UI_DIR={ui}
ALLOWED_EMAILS=ada@example.com
"""
AGENT_ENV = """\
AUTH_TOKEN={token}
DATA_DIR={data}
RUNTIME=process
NODE_BINARY={node}
OPENCLAW_DIR={openclaw}
RELAY_PORT={relay_port}
MANAGEMENT_URL=http://127.0.0.1:{port}
"""
VAULT_KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


@dataclass
class Machine:
    """A host: an sshd process and a root folder."""

    name: str
    root: Path
    port: int
    folder: Path
    process: subprocess.Popen[bytes] | None = None
    settings: str = ""
    """Additional lines of its sshd_config."""

    def start(self) -> None:
        config = self.folder / "sshd_config"
        config.write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {self.folder}/host_key\n"
            f"AuthorizedKeysFile {self.folder.parent}/client.pub\nPidFile none\nUsePAM no\n"
            "StrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
            f"PermitRootLogin yes\nMaxStartups 100\n{self.settings}"
        )
        with (self.folder / "sshd.log").open("ab") as log:
            self.process = subprocess.Popen([SSHD, "-D", "-e", "-f", str(config)], stderr=log)
        for _ in range(1200):
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise AssertionError((self.folder / "sshd.log").read_text())

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait()

    def drop_connections(self) -> None:
        """Cut all connections to this machine, like a network failure."""
        assert self.process is not None
        children = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        for pid in Path(children).read_text().split():
            os.kill(int(pid), signal.SIGKILL)

    def new_host_key(self) -> None:
        key = self.folder / "host_key"
        key.unlink(missing_ok=True)
        key.with_suffix(".pub").unlink(missing_ok=True)
        _keygen(key)


def _keygen(file: Path) -> None:
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(file)]
    subprocess.run(words, check=True)


@dataclass
class Farm:
    """The machines, their inventory, and their servers' ports."""

    folder: Path
    machines: dict[str, Machine]
    inventory: Path
    port: int
    agent_port: int
    relay_port: int

    def known_hosts(self) -> None:
        lines = []
        for machine in self.machines.values():
            public = (machine.folder / "host_key.pub").read_text().split()[:2]
            lines.append(f"[127.0.0.1]:{machine.port} {' '.join(public)}\n")
        (self.folder / "known_hosts").write_text("".join(lines))

    @property
    def urls(self) -> tuple[str, str]:
        """The health addresses of the management server and the agent server."""
        return (
            f"http://127.0.0.1:{self.port}/health",
            f"http://127.0.0.1:{self.agent_port}/health",
        )

    @property
    def databases(self) -> tuple[Path, Path]:
        """Those of the management server and the agent server."""
        return self.folder / "mgmt-data/management.db", self.folder / "agent-data/agent.db"

    def argv(self, *words: str) -> list[str]:
        """The command that runs `words` on a machine: all share this one's programs."""
        return list(words)

    def root(self, host: str) -> Path:
        """The folder with a machine's file system: the inventory's paths name its root folder."""
        return Path("/")

    def health(self, role: str) -> str:
        """The health address of the `mgmt` or `agent` server."""
        return dict(zip(("mgmt", "agent"), self.urls, strict=True))[role]

    def serving(self, role: str) -> str:
        """The version that the `mgmt` or `agent` server reports on its `/health`."""
        answer = httpx2.get(self.health(role), timeout=60, trust_env=False)
        return str(answer.json()["version"])

    def process(self, component: Component) -> str:
        """The process of a component's current release, by pid and start; empty without one."""
        try:
            return (component.path / "run" / f"{component.current}.pid").read_text()
        except FileNotFoundError:
            return ""

    def drop_connections(self, host: str) -> None:
        self.machines[host].drop_connections()

    @contextmanager
    def lose(self, host: str) -> Iterator[None]:
        """Let a machine accept no connections during the block."""
        self.machines[host].stop()
        try:
            yield
        finally:
            self.machines[host].start()

    def end_servers(self) -> None:
        """SIGKILL both servers, and the processes that hold their listeners."""
        for role in ("mgmt", "agent"):
            end_processes_below(self.component(role))

    def component(self, role: str) -> Path:
        places = {
            "mgmt": "opt/management-server",
            "agent": "opt/ocmt/agent-server",
            "ui": "var/www/ocmt",
        }
        return self.machines[role].root / places[role]


@contextmanager
def farm() -> Iterator[Farm]:
    """Three machines named after their roles, with `.env` files; removed at the end.

    Skips the test without sshd, rsync or root.
    """
    require("sshd", "rsync", "root")
    # The path must be short, since there are Unix sockets below it.
    folder = Path(tempfile.mkdtemp(prefix="ocmt-f-"))
    Path("/run/sshd").mkdir(exist_ok=True)
    port, agent_port, relay_port, *ssh = free_ports(6)
    _keygen(folder / "client")
    machines = {}
    for name, ssh_port in zip(("mgmt", "agent", "ui"), ssh, strict=True):
        own = folder / f"sshd-{name}"
        own.mkdir()
        root = folder / name
        root.mkdir()
        machines[name] = Machine(name, root, ssh_port, own)
        machines[name].new_host_key()
    inventory = folder / "ocmt.toml"
    hosts = "".join(
        f'[hosts.{name}]\naddress = "127.0.0.1"\nssh_port = {machine.port}\nroles = ["{name}"]\n'
        f'root = "{machine.root}"\nidentity_file = "client"\nsupervisor = "pidfile"\n'
        for name, machine in machines.items()
    )
    inventory.write_text(
        f"{hosts}[mgmt]\nport = {port}\n[agent]\nport = {agent_port}\nrelay_port = {relay_port}\n"
        '[deploy]\nknown_hosts = "known_hosts"\ngate_timeout_s = 300\ngate_answers = 2\n'
        "keep_releases = 3\ndrain_s = 15\nmin_free_mb = 1\n"
    )
    made = Farm(folder, machines, inventory, port, agent_port, relay_port)
    made.known_hosts()
    fill = {
        "token": AUTH_TOKEN, "port": port, "agent_port": agent_port, "relay_port": relay_port,
        "vault_key": VAULT_KEY, "ui": made.component("ui") / "current",
        "node": stand_in_for_node(folder), "openclaw": folder,
    }  # fmt: skip
    for role, text in (("mgmt", MGMT_ENV), ("agent", AGENT_ENV)):
        place = made.component(role)
        place.mkdir(parents=True)
        (place / ".env").write_text(text.format(data=folder / f"{role}-data", **fill))
    try:
        for machine in machines.values():
            machine.start()
        yield made
    finally:
        for machine in machines.values():
            machine.stop()
        end_processes_below(folder)
        shutil.rmtree(folder)


def processes_below(folder: Path) -> list[int]:
    """Pids of processes with the folder in their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if f"{folder}/".encode() in words:
                found.append(int(entry.name))
    return found


def end_processes_below(folder: Path) -> None:
    """SIGKILL the processes with this folder in their command line, for at most 10 s."""
    until = time.monotonic() + 10
    while (found := processes_below(folder)) and time.monotonic() < until:
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def deployer(made: Farm, *roles: Role, report: Report = lambda text: None) -> Deployer:
    """A deployer of all components or of `roles`."""
    return Deployer(load_inventory(made.inventory), roles or ORDER, report)


def roll_back(made: Farm, *roles: Role) -> None:
    """Roll back all components, or `roles`, without a tag."""
    rollback(deployer(made, *roles), to=None, why="", tag=lambda role, release, why: None)
