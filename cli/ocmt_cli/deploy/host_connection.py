"""A connection to a host: sends the host a program (`program`), and runs steps with it."""

import contextlib
import getpass
import json
import socket
import subprocess
import tempfile
import threading
from typing import Any

from ocmt_cli.deploy.deadlines import deadline_s
from ocmt_cli.deploy.host_failures import (
    SSH_FAILED,
    HostFailed,
    Refused,
    answer_of,
    hangs,
    not_ours,
)
from ocmt_cli.deploy.inventory import HostEntry, Inventory, Role
from ocmt_cli.deploy.pipes import end, ended_after, give, pipes_of
from ocmt_cli.deploy.program import packed, python_argv
from ocmt_cli.deploy.remote import Host
from ocmt_cli.trust import links

_PING_EVERY_S = 60.0
_END_S = 10.0
"""Seconds for a host to end its program; a step that still runs continues on the host."""
_PROGRAM = ("deploy/hostside", "backup/hostside/no_follow.py")
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Busy(HostFailed):
    """Another deployer holds the lock."""


def deployer_name() -> str:
    """The user and machine that run this command (`USER@HOST`), as hosts record them."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


def component_on(inventory: Inventory, host: HostEntry, role: Role) -> dict[str, Any]:
    """The component as JSON, for `hostside.component.Component.from_json`."""
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


class HostConnection:
    """Runs steps on one host. The first step connects. A context manager."""

    def __init__(self, host: Host, entry: HostEntry, inventory: Inventory) -> None:
        self.host = host
        self.entry = entry
        self._inventory = inventory
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 (open until `close`)
        self._process: subprocess.Popen[bytes] | None = None
        self._one_at_a_time = threading.Lock()
        self._closing = threading.Event()
        self._keeper: threading.Thread | None = None

    def __enter__(self) -> "HostConnection":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection for good, which releases its locks."""
        self._closing.set()
        if self._keeper is not None:
            self._keeper.join()
        try:
            self.disconnect()
        finally:
            self._stderr.close()
            self.host.close()

    def disconnect(self) -> None:
        """End the connection, which releases its locks. The next step opens a new one."""
        process, self._process = self._process, None
        if process is not None:
            end(process, within_s=_END_S)

    def lock(self, role: Role, *, what: str) -> None:
        """Take the component's lock on the host, and keep it while the connection lasts.

        Raises `Busy` if another deployer has it, or another `HostFailed`.
        """
        holder = self.ask("lock", role, who=f"{deployer_name()}: {what}")
        if holder is not None:
            raise Busy(
                self.host.name,
                f"{role}: lock",
                f"another deploy is in progress ({holder}). Wait until it ends; if its machine is "
                "gone, the lock is released within 15 minutes.",
            )
        if self._keeper is None:
            self._keeper = threading.Thread(target=self._keep, args=(role,), daemon=True)
            self._keeper.start()

    def _keep(self, role: Role) -> None:
        """Ping the host while this machine builds or copies: the host ends an idle program."""
        with contextlib.suppress(HostFailed):  # the next step reports it
            while not self._closing.wait(_PING_EVERY_S):
                self.ask("ping", role)

    def ask(self, step: str, role: Role, *words: object, **more: object) -> Any:
        """Run a step on the host, and return its value, which is JSON. Raises `HostFailed`."""
        named = f"{role}: {step}"
        component = component_on(self._inventory, self.entry, role)
        request = {"step": step, "component": component, "words": words, **more}
        within_s = deadline_s(step, role, self._inventory.deploy)
        with self._one_at_a_time:
            line = self._exchange(request, named, within_s)
            try:
                answer = answer_of(self.host.name, named, line)
            except Refused:
                # The pending answer must not be taken for that of the next step.
                if self._process is not None:
                    end(self._process, within_s=0)
                raise
        if "failed" in answer:
            raise HostFailed(self.host.name, named, answer["failed"])
        return answer["value"]

    def _exchange(self, request: object, named: str, within_s: float) -> str:
        """Send a request, and return the line with its answer. Raises `HostFailed`."""
        process = self._process or self.host.popen(self._argv(), stderr=self._stderr)
        given, answers = pipes_of(process)
        with ended_after(process, within_s) as overdue:
            if self._process is None:
                self._process = process
                # If the host is already unreachable, reading the first answer reports it.
                give(given, packed(*_PROGRAM))
            # A connection that has failed is not opened again.
            sent = not given.closed and give(given, json.dumps(request).encode() + b"\n")
            line = answers.readline() if sent else b""
            if line.endswith(b"\n"):
                return line.decode(errors="replace")
            # There was no answer, or only a part of it.
            printed = line + (b"" if answers.closed else answers.read())
            code = end(process)
        if overdue.is_set():
            raise hangs(self.host.name, named, within_s)
        self._stderr.seek(0)
        said = self._stderr.read().decode(errors="replace")
        if code != SSH_FAILED and not said.strip() and printed.strip():
            raise not_ours(self.host.name, named, printed.decode(errors="replace"))
        raise self.host.failure(code, said, named)

    def _argv(self) -> list[str]:
        python = python_argv("ocmt_cli.deploy.hostside.server")
        if self.entry.supervisor == "systemd":
            # Services cannot read a Python in a home folder (ProtectHome=).
            return ["env", f"PATH={_SYSTEM_PATH}", *python]
        return python
