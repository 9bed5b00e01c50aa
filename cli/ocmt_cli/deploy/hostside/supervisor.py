"""Starts, admits and stops releases of a server: with systemd, or with pid files.

Standard library only, since it is sent to the host with `hostside`. The systemd units:

- `NAME.socket` has the listeners (FileDescriptorName=api, for the agent server also relay).
- `NAME@.service` (the instance is the release): Type=notify, Sockets=NAME.socket, Environment=
  OCMT_RELEASE_DIR=PATH/releases/%i OCMT_GATE_SOCKET=/run/NAME/%i.sock OCMT_DRAIN_S=…,
  RuntimeDirectory=NAME with RuntimeDirectoryPreserve=yes, ExecStart=`server_command`,
  KillMode=mixed (agents: process), TimeoutStopSec= a little more than the drain.
- `NAME-expand@.service` and `NAME-migrate@.service` (management only): Type=oneshot,
  ExecStart=`migrate_command`.

NAME is in `UNITS`.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

from ocmt_common.atomic_files import replace_file
from ocmt_common.process_identity import start_ticks

from ocmt_cli.deploy.hostside.component import MODULES, UNITS, Component, StepFailed

_POLL_S = 0.05
_HOLDER_START_S = 60.0
# First descriptor for the listeners, above those in use, before they are moved to 3, 4, ….
_PARKED_FD = 50
_EXEC = (
    "import os,sys;n=int(sys.argv[1]);"
    "[(os.dup2(50+i,3+i),os.close(50+i)) for i in range(n)];"
    "os.environ['LISTEN_PID']=str(os.getpid());os.execv(sys.argv[2],sys.argv[2:])"
)


def server_command(role: str, path: str, release: str) -> list[str]:
    """The command line of a release's server; `release` may be systemd's %i."""
    serve = ["serve", "--migrated"] if role == "mgmt" else []
    python = f"{path}/releases/{release}/venv/bin/python"
    return [python, "-m", MODULES[role], *serve, "--env-file", f"{path}/.env"]


def migrate_command(path: str, release: str, *, expand: bool) -> list[str]:
    """The command line that migrates management's database to a release.

    `expand` leaves out the migrations after which the previous release could not run.
    """
    python = f"{path}/releases/{release}/venv/bin/python"
    only = ["--expand"] if expand else []
    return [python, "-m", MODULES["mgmt"], "migrate", *only, "--env-file", f"{path}/.env"]


class Supervisor(Protocol):
    """Runs one server on one host, with a process per release."""

    def start(self, release: str) -> None:
        """Start a release, in standby unless it is the current one. Idempotent."""

    def admit(self, release: str) -> None:
        """Signal a running release to read `current` again, and to serve if it is current."""

    def ask_to_stop(self, release: str) -> None:
        """Start to drain the release, without waiting."""

    def stop(self, release: str, *, within_s: float) -> None:
        """Drain the release; kill it after `within_s` seconds."""

    def is_alive(self, release: str) -> bool: ...

    def running(self) -> list[str]:
        """The releases with a process, including draining ones."""

    def readiness_socket(self, release: str) -> Path:
        """The Unix socket on which a running release reports whether it is ready."""

    def at_boot(self, release: str) -> None:
        """Make the machine start only this release at boot."""

    def migrate(self, release: str, *, expand: bool) -> None:
        """Run the release's migrations; `expand`: as in `migrate_command`. Raises `StepFailed`."""

    def log(self, release: str, lines: int) -> str: ...


def supervisor_of(component: Component) -> Supervisor:
    return Systemd(component) if component.supervisor == "systemd" else PidFiles(component)


def _ends(alive: Callable[[], bool], within_s: float) -> bool:
    until = time.monotonic() + within_s
    while alive():
        if time.monotonic() > until:
            return False
        time.sleep(_POLL_S)
    return True


class Systemd:
    def __init__(self, component: Component) -> None:
        self._name = UNITS[component.role]

    def _unit(self, release: str) -> str:
        return f"{self._name}@{release}.service"

    def _ctl(self, *words: str, check: bool = True) -> str:
        command = ["systemctl", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if check and done.returncode != 0:
            missing = " `./ocmt setup` installs the units." if "not found" in done.stderr else ""
            said = done.stderr.strip().splitlines()
            raise StepFailed(f"systemctl {' '.join(words)}: {said[0] if said else '?'}{missing}")
        return done.stdout

    def start(self, release: str) -> None:
        self._ctl("start", f"{self._name}.socket")
        self._ctl("reset-failed", self._unit(release), check=False)
        self._ctl("start", "--no-block", self._unit(release))

    def admit(self, release: str) -> None:
        self._ctl("kill", "--kill-whom=main", "--signal=SIGUSR1", self._unit(release))

    def ask_to_stop(self, release: str) -> None:
        self._ctl("stop", "--no-block", self._unit(release))

    def stop(self, release: str, *, within_s: float) -> None:
        self.ask_to_stop(release)
        if not _ends(lambda: self.is_alive(release), within_s):
            self._ctl("kill", "--signal=SIGKILL", self._unit(release), check=False)
            _ends(lambda: self.is_alive(release), 10)

    def is_alive(self, release: str) -> bool:
        shown = self._ctl("show", "--property=ActiveState", "--value", self._unit(release))
        return shown.strip() in ("active", "activating", "deactivating", "reloading")

    def running(self) -> list[str]:
        listed = self._ctl(
            "list-units", "--plain", "--no-legend", "--all",
            "--state=active,activating,deactivating", f"{self._name}@*.service",
        )  # fmt: skip
        units = [line.split()[0] for line in listed.splitlines() if line.strip()]
        return [unit.partition("@")[2].removesuffix(".service") for unit in units]

    def readiness_socket(self, release: str) -> Path:
        return Path("/run") / self._name / f"{release}.sock"

    def at_boot(self, release: str) -> None:
        enabled = self._ctl("list-unit-files", "--no-legend", f"{self._name}@*.service")
        wanted = self._unit(release)
        links = Path("/etc/systemd/system/multi-user.target.wants").glob(f"{self._name}@*.service")
        for link in links:
            if link.name != wanted:
                self._ctl("disable", link.name, check=False)
        if wanted not in enabled:
            self._ctl("enable", f"{self._name}.socket", wanted)

    def migrate(self, release: str, *, expand: bool) -> None:
        unit = f"{self._name}-{'expand' if expand else 'migrate'}@{release}.service"
        try:
            self._ctl("start", unit)
        except StepFailed as failure:
            # Without the lines of systemd itself, of which the last is "Failed to start …".
            own = self._journal(20, f"_SYSTEMD_UNIT={unit}")
            raise StepFailed(f"{failure}\n{own}") from failure

    def log(self, release: str, lines: int) -> str:
        return self._journal(lines, f"--unit={self._unit(release)}")

    @staticmethod
    def _journal(lines: int, of: str) -> str:
        words = ["journalctl", "--no-pager", "--output=cat", f"--lines={lines}", of]
        return subprocess.run(words, capture_output=True, text=True, check=False).stdout


class PidFiles:
    """A supervisor without systemd, with a pid file per release and a process for the listeners."""

    def __init__(self, component: Component) -> None:
        self._component = component
        self._run = component.path / "run"
        self._logs = component.path / "log"

    def start(self, release: str) -> None:
        if self.is_alive(release):
            return
        self._run.mkdir(exist_ok=True)
        self._logs.mkdir(exist_ok=True)
        parked: list[int] = []
        listeners = self._listeners()
        try:
            for index, fd in enumerate(listeners):
                os.dup2(fd, _PARKED_FD + index)
                parked.append(_PARKED_FD + index)
            environment = {
                "PATH": os.environ.get("PATH", os.defpath),
                "LISTEN_FDS": str(len(parked)),
                "LISTEN_FDNAMES": ":".join(self._component.listeners),
                "OCMT_RELEASE_DIR": str(self._component.release(release)),
                "OCMT_GATE_SOCKET": str(self.readiness_socket(release)),
                "OCMT_DRAIN_S": f"{self._component.drain_s:g}",
            }
            role, path = self._component.role, str(self._component.path)
            with (self._logs / f"{release}.log").open("ab") as log:
                process = subprocess.Popen(
                    ["/usr/bin/env", "python3", "-c", _EXEC, str(len(parked)),
                     *server_command(role, path, release)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=environment,
                    cwd="/",
                    pass_fds=parked,
                    start_new_session=True,
                )  # fmt: skip
        finally:
            for fd in (*parked, *listeners):
                os.close(fd)
        note = {"pid": process.pid, "ticks": start_ticks(process.pid)}
        replace_file(self._run / f"{release}.pid", json.dumps(note), mode=0o644, durable=False)

    def _listeners(self) -> list[int]:
        """Copies of the shared listeners. Starts the process that holds them if needed."""
        control = self._run / "holder.sock"
        fds = self._ask_holder(control)
        if fds is not None:
            return fds
        source = resources.files("ocmt_cli.deploy.hostside").joinpath("holder.py").read_text()
        wanted = [f"{name}={where}" for name, where in self._component.listeners.items()]
        with (self._logs / "holder.log").open("ab") as log:
            holder = subprocess.Popen(
                ["/usr/bin/env", "python3", "-c", source, str(control), *wanted],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until = time.monotonic() + _HOLDER_START_S
        while (fds := self._ask_holder(control)) is None:
            if holder.poll() is not None or time.monotonic() > until:
                raise StepFailed(
                    f"the ports {', '.join(wanted)} cannot be opened: "
                    f"{_tail(self._logs / 'holder.log', 1)}. Stop the program that has them, or "
                    "choose other ports in the inventory."
                )
            time.sleep(_POLL_S)
        replace_file(self._run / "holder.pid", str(holder.pid), mode=0o644, durable=False)
        return fds

    def _ask_holder(self, control: Path) -> list[int] | None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
            asking.settimeout(5)
            try:
                asking.connect(str(control))
                return list(socket.recv_fds(asking, 1, len(self._component.listeners))[1])
            except OSError:
                return None

    def admit(self, release: str) -> None:
        self._signal(release, signal.SIGUSR1)

    def ask_to_stop(self, release: str) -> None:
        self._signal(release, signal.SIGTERM)

    def stop(self, release: str, *, within_s: float) -> None:
        self.ask_to_stop(release)
        if not _ends(lambda: self.is_alive(release), within_s):
            self._signal(release, signal.SIGKILL)
            _ends(lambda: self.is_alive(release), 10)
        (self._run / f"{release}.pid").unlink(missing_ok=True)

    def _signal(self, release: str, number: signal.Signals) -> None:
        if self.is_alive(release):
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._note(release)["pid"], number)

    def _note(self, release: str) -> dict[str, Any]:
        try:
            note = json.loads((self._run / f"{release}.pid").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return note if isinstance(note, dict) else {}

    def is_alive(self, release: str) -> bool:
        note = self._note(release)
        return bool(note) and start_ticks(note["pid"]) == note["ticks"] is not None

    def running(self) -> list[str]:
        names = sorted(file.stem for file in self._run.glob("*.pid") if file.stem != "holder")
        return [name for name in names if self.is_alive(name)]

    def readiness_socket(self, release: str) -> Path:
        return self._run / f"{release}.sock"

    def at_boot(self, release: str) -> None:
        """Do nothing, since starting the container includes a deploy."""

    def migrate(self, release: str, *, expand: bool) -> None:
        done = subprocess.run(
            migrate_command(str(self._component.path), release, expand=expand),
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            env={"PATH": os.environ.get("PATH", os.defpath)},
        )
        if done.returncode != 0:
            raise StepFailed(done.stderr.strip() or f"exit code {done.returncode}")

    def log(self, release: str, lines: int) -> str:
        return _tail(self._logs / f"{release}.log", lines)


def _tail(file: Path, lines: int) -> str:
    try:
        return "\n".join(file.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""
