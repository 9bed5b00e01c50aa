"""A session with a host: sends a program there, and runs its steps.

The program is packed into the first bytes of its input (`program`).
"""

import getpass
import json
import socket
import subprocess
import tempfile
from typing import Any

from ocmt_cli.deploy.host_failures import HostFailed, answer_of
from ocmt_cli.deploy.inventory import HostEntry, Inventory, Role
from ocmt_cli.deploy.pipes import end, give, pipes_of
from ocmt_cli.deploy.program import packed, python_argv
from ocmt_cli.deploy.remote import Host
from ocmt_cli.trust import links

_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Busy(HostFailed):
    """Another deployer holds the lock."""


def deployer_name() -> str:
    """The person and machine that this command runs for, as the hosts record it."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


def component_on(inventory: Inventory, host: HostEntry, role: Role) -> dict[str, Any]:
    """The arguments of `hostside.component.Component`."""
    listeners: dict[str, str] = {}
    if role == "mgmt":
        listeners["api"] = f"{inventory.mgmt.bind}:{inventory.mgmt.port}"
    elif role == "agent":
        listeners["api"] = f"{inventory.agent.bind}:{inventory.agent.port}"
        if inventory.agent.relay_bind:
            listeners["relay"] = f"{inventory.agent.relay_bind}:{inventory.agent.relay_port}"
    if (for_other_host := links.listener(inventory, host, role)) is not None:
        listeners["tls"] = for_other_host
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
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as the session)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the session, which releases its locks."""
        try:
            if self._process is not None:
                end(self._process)
        finally:
            self._stderr.close()
            self.host.close()

    def lock(self, role: Role, *, what: str) -> None:
        """Hold the component's lock on the host until the session ends. Raises `Busy`."""
        holder = self.ask("lock", role, who=f"{deployer_name()}: {what}")
        if holder is not None:
            raise Busy(
                self.host.name,
                f"{role}: lock",
                f"another deploy is in progress ({holder}). Wait for its end; if its machine is "
                "gone, the lock is released within minutes.",
            )

    def ask(self, step: str, role: Role, *words: object, **more: object) -> Any:
        """Run a step on the host. Raises `HostFailed` naming host, component and step."""
        named = f"{role}: {step}"
        process = self._process or self._start()
        given, answers = pipes_of(process)
        component = component_on(self._inventory, self.entry, role)
        request = {"step": step, "component": component, "words": words, **more}
        # A lost host stays lost for this session.
        sent = not given.closed and give(given, json.dumps(request).encode() + b"\n")
        line = answers.readline() if sent else b""
        if not line.endswith(b"\n"):  # no answer, or a truncated one
            code = end(process)
            self._stderr.seek(0)
            said = self._stderr.read().decode(errors="replace")
            raise self.host.failure(code, said, named)
        answer = answer_of(self.host.name, named, line.decode(errors="replace"))
        if "failed" in answer:
            raise HostFailed(self.host.name, named, answer["failed"])
        return answer["value"]

    def _start(self) -> subprocess.Popen[bytes]:
        python = python_argv("ocmt_cli.deploy.hostside.server")
        if self.entry.supervisor == "systemd":
            # Not a Python in a home folder, which services cannot read (ProtectHome=).
            python = ["env", f"PATH={_SYSTEM_PATH}", *python]
        self._process = self.host.popen(python, stderr=self._stderr)
        # If the host is lost already, reading the first answer reports it.
        give(pipes_of(self._process)[0], packed("deploy/hostside"))
        return self._process
