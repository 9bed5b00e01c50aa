"""One conversation with a host: sends our own program there, then asks it for steps.

The program is packed into the first bytes of the connection, so a host needs Python and nothing of
ours, and both sides are always of the same version.
"""

import functools
import getpass
import io
import json
import socket
import subprocess
import tempfile
import zipfile
from importlib import resources
from typing import Any

from ocmt_cli.deploy.host_failures import HostFailed, answer_of
from ocmt_cli.deploy.inventory import HostEntry, Inventory, Role
from ocmt_cli.deploy.remote import Host

# Runs on whatever Python there is, to be able to say that it is too old.
_BOOT = """\
import os, sys
if sys.version_info < (3, 11):
    sys.exit("Python %d.%d is too old; install Python 3.11 or newer" % sys.version_info[:2])
size = int(sys.stdin.buffer.readline())
packed = os.memfd_create("ocmt")
os.write(packed, sys.stdin.buffer.read(size))
sys.path.insert(0, "/proc/self/fd/%d" % packed)
from ocmt_cli.deploy.hostside.server import main
main()
"""


_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Busy(HostFailed):
    """Another deployer works on this host."""


def component_on(inventory: Inventory, host: HostEntry, role: Role) -> dict[str, Any]:
    """What the host's side needs to know (`hostside.component.Component`)."""
    listeners: dict[str, str] = {}
    if role == "mgmt":
        listeners["api"] = f"{inventory.mgmt.bind}:{inventory.mgmt.port}"
    elif role == "agent":
        listeners["api"] = f"{inventory.agent.bind}:{inventory.agent.port}"
        if inventory.agent.relay_bind:
            listeners["relay"] = f"{inventory.agent.relay_bind}:{inventory.agent.relay_port}"
    policy = inventory.deploy
    return {
        "role": role,
        "path": str(inventory.component_path(host, role)),
        "supervisor": host.supervisor,
        "listeners": listeners,
        "gate_timeout_s": policy.gate_timeout_s,
        "gate_answers": policy.gate_answers,
        "drain_s": policy.drain_s,
        "keep_releases": policy.keep_releases,
    }


class Session:
    """Steps on one host, over one connection; a context manager."""

    def __init__(self, host: Host, entry: HostEntry, inventory: Inventory) -> None:
        self.host = host
        self.entry = entry
        self._inventory = inventory
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the session)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the conversation and give the locks back."""
        if self._process is not None:
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()
            self._process.wait()
        self._stderr.close()
        self.host.close()

    def lock(self, role: Role, *, what: str) -> None:
        """Take the component's lock on the host until this session ends. Raises `Busy`."""
        who = f"{getpass.getuser()}@{socket.gethostname()}: {what}"
        holder = self.ask("lock", role, who=who)
        if holder is not None:
            raise Busy(
                self.host.name,
                f"{role}: lock",
                f"another deploy is under way ({holder}). Wait for its end; if its machine is "
                "gone, the lock ends with its connection within minutes.",
            )

    def ask(self, step: str, role: Role, *words: object, **more: object) -> Any:
        """Run a step on the host. Raises `HostFailed` naming host, component and step."""
        named = f"{role}: {step}"
        process = self._process or self._start()
        if process.stdin is None or process.stdout is None:
            raise AssertionError("the process was started with pipes")
        component = component_on(self._inventory, self.entry, role)
        request = {"step": step, "component": component, "words": words, **more}
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = b""
        if not line:
            code = process.wait()
            self._stderr.seek(0)
            raise self.host.failure(code, self._stderr.read().decode(errors="replace"), named)
        answer = answer_of(self.host.name, named, line.decode(errors="replace"))
        if "failed" in answer:
            raise HostFailed(self.host.name, named, answer["failed"])
        return answer["value"]

    def _start(self) -> subprocess.Popen[bytes]:
        python = ["python3", "-I", "-c", _BOOT]
        if self.entry.supervisor == "systemd":
            # A Python in somebody's home is one that the services may not look at (ProtectHome=).
            python = ["env", f"PATH={_SYSTEM_PATH}", *python]
        self._process = self.host.popen(python, stderr=self._stderr)
        program = _packed()
        if self._process.stdin is None:
            raise AssertionError("the process was started with pipes")
        try:
            self._process.stdin.write(b"%d\n" % len(program) + program)
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the first answer, which does not come, says why
        return self._process


@functools.cache
def _packed() -> bytes:
    """Our modules that run on the host, as a zip file that Python imports from."""
    packed = io.BytesIO()
    package = resources.files("ocmt_cli")
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("ocmt_cli/__init__.py", "")
        archive.writestr("ocmt_cli/deploy/__init__.py", "")
        supervisor = package.joinpath("deploy", "supervisor.py").read_bytes()
        archive.writestr("ocmt_cli/deploy/supervisor.py", supervisor)
        for module in package.joinpath("deploy", "hostside").iterdir():
            if module.name.endswith(".py"):
                archive.writestr(f"ocmt_cli/deploy/hostside/{module.name}", module.read_bytes())
    return packed.getvalue()
