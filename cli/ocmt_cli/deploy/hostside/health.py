"""Checks the health of a release at its readiness socket."""

import http.client
import json
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from ocmt_cli.deploy.hostside.component import Component, StepFailed
from ocmt_cli.deploy.hostside.supervisor import Supervisor

_ASK_TIMEOUT_S = 5.0
_POLL_S = 0.1


@dataclass(frozen=True)
class Answer:
    status: int
    """The HTTP status; 0 without an answer."""
    body: str
    version: str
    state: str
    """The body's `status`, such as ok, degraded or standby."""

    @property
    def standby(self) -> bool:
        return self.state == "standby"

    @property
    def degraded(self) -> bool:
        return self.state == "degraded"

    @property
    def text(self) -> str:
        return f"{self.status} {self.body[:500]}" if self.status else self.body


class _Gate(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_ASK_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_ASK_TIMEOUT_S)
        self.sock.connect(str(self._path))


def ask(gate: Path) -> Answer:
    """Request `GET /health` at the readiness socket `gate`."""
    connection = _Gate(gate)
    try:
        connection.request("GET", "/health")
        response = connection.getresponse()
        body = response.read(65536).decode(errors="replace")
        status = response.status
    except (OSError, http.client.HTTPException) as error:
        return Answer(0, f"no answer ({error})", "", "")
    finally:
        connection.close()
    try:
        said = json.loads(body)
        return Answer(status, body, str(said["version"]), str(said.get("status", "")))
    except (ValueError, KeyError, TypeError, AttributeError):
        return Answer(status, body, "", "")


def pass_gate(component: Component, supervisor: Supervisor, release: str, *, serving: bool) -> None:
    """Wait for `gate_answers` healthy answers in a row; with `serving`, standby does not count.

    Raises `StepFailed` with the last answer and the end of the log.
    """
    until = time.monotonic() + component.gate_timeout_s
    good = 0
    answer = Answer(0, "not asked yet", "", "")
    while good < component.gate_answers:
        if not supervisor.is_alive(release):
            raise _refused(component, supervisor, release, "its process ended")
        answer = ask(supervisor.gate(release))
        healthy = answer.status == 200 and answer.version == release
        good = good + 1 if healthy and not (serving and answer.standby) else 0
        if time.monotonic() > until:
            waited = f"not healthy within {component.gate_timeout_s:g} s; last answer: "
            raise _refused(component, supervisor, release, waited + answer.text)
        if good < component.gate_answers:
            time.sleep(_POLL_S)


def _refused(component: Component, supervisor: Supervisor, release: str, why: str) -> StepFailed:
    log = supervisor.log(release, 15).strip().replace("\n", "\n  | ")
    return StepFailed(
        f"release {release} did not become healthy: {why}\n  its log ends with:\n  | {log}\n"
        f"Fix that and deploy again; the settings are in {component.env_file}."
    )
