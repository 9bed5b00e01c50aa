"""A host with management and the page, whose servers a booted systemd runs."""

import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ocmt_cli.deploy.hostside.component import UNITS, Component
from ocmt_cli.deploy.inventory import Role, load_inventory
from ocmt_cli.setup.files import units

from ocmt_testing.deploy.booted_systemd import BootedSystemd, booted_systemd
from ocmt_testing.deploy.farm import AUTH_TOKEN, MGMT_ENV, SSHD, VAULT_KEY
from ocmt_testing.deploy.load import until
from ocmt_testing.needs import require
from ocmt_testing.ports import free_ports

_PLACE = Path("opt/management-server")
_DATA = Path("var/lib/ocmt-management")


class SystemdHost:
    """The host `front`, to which nothing is deployed yet."""

    def __init__(self, machine: BootedSystemd, inventory: Path, port: int, ssh_port: int) -> None:
        self.machine = machine
        self.inventory = inventory
        self.url = f"http://127.0.0.1:{port}/health"
        self._ssh_port = ssh_port
        self._nsenter: subprocess.Popen[bytes] | None = None

    @property
    def place(self) -> Path:
        """Management's folder."""
        return self.machine.root / _PLACE

    @property
    def databases(self) -> Sequence[Path]:
        return [Path("/", _DATA, "management.db")]

    def argv(self, *words: str) -> list[str]:
        return self.machine.argv(*words)

    def root(self, host: str) -> Path:
        return self.machine.root

    def health(self, role: Role) -> str:
        return self.url

    def process(self, component: Component) -> str:
        unit = f"{UNITS[component.role]}@{component.current}.service"
        return self.machine.run("systemctl", "show", "--property=InvocationID", "--value", unit)

    def active(self) -> list[str]:
        """The releases that systemd runs."""
        words = ("list-units", "--plain", "--no-legend", "--state=active", "ocmt-management@*")
        listed = self.machine.run("systemctl", *words)
        return re.findall(r"ocmt-management@(\S+)\.service", listed)

    def enabled(self) -> list[str]:
        """The releases that start at boot."""
        wants = self.machine.root / "etc/systemd/system/multi-user.target.wants"
        return [one.name.partition("@")[2].removesuffix(".service")
                for one in wants.glob("ocmt-management@*")]  # fmt: skip

    def end_servers(self) -> None:
        self.machine.run("systemctl", "kill", "--signal=SIGKILL", "ocmt-management@*.service")

    def drop_connections(self, host: str) -> None:
        for sshd in self._children(self._sshd()):
            os.kill(sshd, signal.SIGKILL)

    @contextmanager
    def lose(self, host: str) -> Iterator[None]:
        self.stop_ssh()
        try:
            yield
        finally:
            self.start_ssh()

    def start_ssh(self) -> None:
        words = self.machine.argv(SSHD, "-D", "-e", "-f", "/opt/ocmt-ssh/config")
        self._nsenter = subprocess.Popen(words, stderr=subprocess.DEVNULL)
        until(self._accepts)

    def stop_ssh(self) -> None:
        assert self._nsenter is not None
        os.kill(self._sshd(), signal.SIGTERM)
        self._nsenter.wait()

    def _accepts(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self._ssh_port), 1).close()
        except OSError:
            return False
        return True

    def _sshd(self) -> int:
        """The pid of sshd, which nsenter started in the machine's namespace."""
        assert self._nsenter is not None
        (pid,) = self._children(self._nsenter.pid)
        return pid

    @staticmethod
    def _children(pid: int) -> list[int]:
        listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return [int(one) for one in listed.split()]


@contextmanager
def systemd_host(folder: Path) -> Iterator[SystemdHost]:
    """Boot it. Skips the test where the machine does not let systemd boot, or lacks sshd."""
    require("sshd", "rsync")
    port, ssh_port, nobody = free_ports(3)
    for name in ("client", "host"):
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(words, check=True)
    public = (folder / "host.pub").read_text().split()[:2]
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{ssh_port} {' '.join(public)}\n")
    file = folder / "ocmt.toml"
    file.write_text(
        f'[hosts.front]\naddress = "127.0.0.1"\nssh_port = {ssh_port}\nroles = ["mgmt", "ui"]\n'
        f'identity_file = "client"\n[mgmt]\nport = {port}\n[deploy]\nknown_hosts = "known_hosts"\n'
        "gate_timeout_s = 240\ngate_answers = 2\nkeep_releases = 3\ndrain_s = 15\nmin_free_mb = 1\n"
    )
    with booted_systemd() as machine:
        host = SystemdHost(machine, file, port, ssh_port)
        inventory = load_inventory(file)
        for name, text in units(inventory, inventory.host("front")).items():
            (machine.root / "etc/systemd/system" / name).write_text(text)
        machine.run("useradd", "--system", "--home-dir", "/nonexistent", "ocmt")
        machine.run("systemctl", "daemon-reload")
        host.place.mkdir(parents=True)
        (host.place / ".env").write_text(
            MGMT_ENV.format(
                data=f"/{_DATA}", vault_key=VAULT_KEY, agent_port=nobody, token=AUTH_TOKEN,
                port=port, ui="/var/www/ocmt/current",
            )
        )  # fmt: skip
        ssh = machine.root / "opt/ocmt-ssh"
        ssh.mkdir(parents=True)
        for one in ("host", "client.pub"):
            (ssh / one).write_bytes((folder / one).read_bytes())
            (ssh / one).chmod(0o600)
        (ssh / "config").write_text(
            f"Port {ssh_port}\nListenAddress 127.0.0.1\nHostKey /opt/ocmt-ssh/host\n"
            "AuthorizedKeysFile /opt/ocmt-ssh/client.pub\nPidFile none\nUsePAM no\n"
            "StrictModes no\nPasswordAuthentication no\nPermitRootLogin yes\n"
        )
        host.start_ssh()
        try:
            yield host
        finally:
            host.stop_ssh()
