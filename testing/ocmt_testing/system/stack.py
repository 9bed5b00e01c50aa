"""The whole system, started with `./ocmt up --detach` on its own ports and data."""

import json
import re
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx2
from dotenv import dotenv_values
from ocmt_agent.runtime.spec import hostname_of
from ocmt_cli.checkout import ROOT

from ocmt_testing.ports import free_port_base

LINK = re.compile(r"https?://\S+/sign-in#\S+")
T = TypeVar("T")


def eventually(
    look: Callable[[], T | None], *, within_s: float, what: str, every_s: float = 0.1
) -> T:
    """Poll `look` until it returns a truthy value; fail with `what` after `within_s` seconds."""
    deadline = time.monotonic() + within_s
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s} s: {what}; last seen: {seen!r}")
        time.sleep(every_s)


@dataclass
class Stack:
    runtime: str
    data: Path
    port: int = field(default_factory=free_port_base)
    first_link: str = ""
    """The operator's link that `up` printed; its user becomes the admin."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def agent_url(self) -> str:
        return f"http://127.0.0.1:{self.port + 1000}"

    @property
    def auth_token(self) -> str:
        token = dotenv_values(self.data / "agent.env")["AUTH_TOKEN"]
        assert token
        return token

    def ocmt(self, *words: str, timeout_s: float = 900) -> str:
        done = subprocess.run(
            [ROOT / "ocmt", *words],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, f"ocmt {words[0]}: {done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def up(self) -> str:
        """Start the system. Returns the operator's sign-in link."""
        said = self.ocmt(
            "up", "--detach", "--runtime", self.runtime, "--port", str(self.port),
            "--data", str(self.data),
        )  # fmt: skip
        found = LINK.search(said)
        assert found, said
        return found.group(0)

    def down(self) -> None:
        self.ocmt("down", "--data", str(self.data))

    def link(self, email: str) -> str:
        found = LINK.search(self.ocmt("link", "--email", email, "--data", str(self.data)))
        assert found
        return found.group(0)

    def status(self) -> dict[str, Any]:
        read: dict[str, Any] = json.loads(self.ocmt("status", "--json", "--data", str(self.data)))
        return read

    def agent(self, method: str, path: str, **kwargs: Any) -> httpx2.Response:
        """Send a request to the agent server with the operator's token."""
        with httpx2.Client(timeout=150, trust_env=False) as client:
            return client.request(
                method, self.agent_url + path, headers={"x-auth-token": self.auth_token}, **kwargs
            )

    def containers(self) -> list[dict[str, Any]]:
        listed = self.agent("GET", "/api/containers")
        assert listed.status_code == 200, listed.text
        found: list[dict[str, Any]] = listed.json()
        return found

    def state(self, user_id: str) -> str:
        return next(str(c["hibernationState"]) for c in self.containers() if c["userId"] == user_id)

    def home(self, user_id: str) -> str:
        """The name of the agent's folder and container: the user's id, or that of a spare."""
        return next(str(c["home"]) for c in self.containers() if c["userId"] == user_id)

    def events(self, user_id: str) -> list[dict[str, Any]]:
        """An agent's events, oldest first."""
        listed = self.agent("GET", f"/api/containers/{user_id}/events?limit=200")
        assert listed.status_code == 200, listed.text
        found: list[dict[str, Any]] = listed.json()["events"]
        return found

    def hibernate(self, user_id: str, mode: str) -> httpx2.Response:
        """Hibernate an agent, retrying while its gateway is busy after its last work."""

        def ordered() -> httpx2.Response | None:
            answer = self.agent("POST", f"/api/containers/{user_id}/hibernate", json={"mode": mode})
            return None if answer.status_code == 409 else answer

        # Each order calls the gateway, which is limited to 30 calls a minute.
        answer = eventually(ordered, within_s=240, what=f"the agent agrees to {mode}", every_s=3)
        assert answer.status_code == 200, answer.text
        return answer

    def server_pid(self, name: str) -> int | None:
        """The pid of the server `agent` or `management`; `None` while it does not run."""
        pid: int | None = self.status()["servers"][name].get("pid")
        return pid

    def kill_agent_server(self) -> int:
        """SIGKILL the agent server. Returns the pid it had."""
        pid = self.server_pid("agent")
        assert pid is not None
        Path(f"/proc/{pid}").stat()
        subprocess.run(["kill", f"-{signal.SIGKILL.value}", str(pid)], check=True)
        return pid

    def agent_token(self, user_id: str) -> str:
        """The token with which a user's running agent calls OCMT."""
        environ = Path(f"/proc/{self.gateway_pids(user_id)[0]}/environ").read_bytes()
        return next(
            part.partition(b"=")[2].decode()
            for part in environ.split(b"\0")
            if part.startswith(b"OCMT_AGENT_TOKEN=")
        )

    def gateway_pids(self, user_id: str) -> list[int]:
        """The host pids of a user's gateway, oldest first, without its helper processes.

        Leaves out children of the gateway, which look like it between fork and exec.
        """
        name = hostname_of(user_id).encode() if self.runtime == "docker" else None
        folder = f"/agents/{user_id}/state".encode()
        parents: dict[int, int] = {}
        for proc in Path("/proc").iterdir():
            if not proc.name.isdigit():
                continue
            try:
                title = (proc / "cmdline").read_bytes()
                environ = (proc / "environ").read_bytes()
                parent = int((proc / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            ours = b"HOSTNAME=" + name in environ if name else folder in environ
            if ours and (title.startswith(b"openclaw-gateway") or b"openclaw.mjs" in title):
                parents[int(proc.name)] = parent
        return sorted(pid for pid, parent in parents.items() if parent not in parents)
