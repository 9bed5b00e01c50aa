"""A client of the Docker Engine's socket: version, images, and OCMT's containers."""

import json
import os
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2

from ocmt_cli.failure import CommandFailed

_DEFAULT = "unix:///var/run/docker.sock"
# For an engine that hangs; if there is none, the connection is refused at once.
_ASK_S = 30.0
# For requests that create, start or stop, which use the disk and wait for each other.
_CHANGE_S = 120.0


class EngineSlow(CommandFailed):
    """The engine takes too long to answer."""


@dataclass(frozen=True, slots=True)
class EngineContainer:
    id: str
    state: str


class Engine:
    """A connection to the engine that `DOCKER_HOST` names, or to this machine's."""

    def __init__(self, address: str | None = None) -> None:
        parts = urlsplit(address or os.environ.get("DOCKER_HOST") or _DEFAULT)
        local = parts.scheme == "unix"
        self._socket = Path(parts.path) if local else None
        self._http = httpx2.Client(
            # An empty context, since it is not used and loading the system's certificates is slow.
            transport=httpx2.HTTPTransport(
                uds=parts.path if local else None,
                verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
                trust_env=False,
            ),
            base_url="http://docker" if local else f"http://{parts.netloc}",
            timeout=_ASK_S,
            trust_env=False,
        )

    def version(self) -> str | None:
        """The engine's version; `None` if there is no engine. Raises `EngineSlow`."""
        try:
            answer = self.request("GET", "/version")
        except (httpx2.TransportError, OSError):
            return None
        return str(answer.json()["Version"]) if answer.status_code == 200 else None

    def cure(self) -> str:
        """The cure for an engine that does not answer."""
        path = self._socket
        if path is not None and path.exists() and not os.access(path, os.R_OK | os.W_OK):
            return (
                f"This user may not use {path}: run this as root, or join the socket's group "
                "(usermod -aG docker USER, then sign in again)."
            )
        return "Install it (apt-get install docker.io) and start it (systemctl start docker)."

    def request(self, method: str, path: str, **options: Any) -> httpx2.Response:
        """Call the Engine API.

        Raises `EngineSlow`, and `OSError` or `httpx2.TransportError` if there is no engine.
        """
        if self._socket is not None:
            _knock(self._socket)
        if method != "GET":
            options.setdefault("timeout", _CHANGE_S)
        try:
            return self._http.request(method, path, **options)
        except httpx2.TimeoutException as error:
            raise EngineSlow(
                f"The Docker Engine takes too long to answer ({method} {path}). See why "
                "(systemctl status docker), then run this again."
            ) from error

    def has_image(self, name: str) -> bool:
        """Whether the engine has the image; `False` without an engine. Raises `EngineSlow`."""
        try:
            return self.request("GET", f"/images/{name}/json").status_code == 200
        except (httpx2.TransportError, OSError):
            return False

    def containers(self, label: str) -> list[EngineContainer]:
        """The running, paused and restarting containers with the label `NAME=VALUE`.

        Raises `CommandFailed`, and like `request`.
        """
        filters = json.dumps({"label": [label], "status": ["running", "paused", "restarting"]})
        answer = self.request("GET", "/containers/json", params={"filters": filters})
        _check(answer, doing="listing the agents' containers")
        return [EngineContainer(item["Id"], item["State"]) for item in answer.json()]

    def stop(self, container: EngineContainer, *, grace_s: int) -> None:
        """Stop a container; unpause a paused one first, since its processes handle no signals.

        Raises `CommandFailed`, and like `request`.
        """
        if container.state == "paused":
            self.request("POST", f"/containers/{container.id}/unpause")
        answer = self.request(
            "POST",
            f"/containers/{container.id}/stop",
            params={"t": grace_s},
            timeout=grace_s + _CHANGE_S,
        )
        # 304: already stopped; 404: removed; 409: being removed.
        if answer.status_code not in (304, 404, 409):
            _check(answer, doing=f"stopping {container.id[:12]}")

    def close(self) -> None:
        self._http.close()


def _check(answer: httpx2.Response, *, doing: str) -> None:
    if answer.status_code >= 400:
        raise CommandFailed(
            f"The Docker Engine failed while {doing}: {answer.text.strip()[:300]}. See "
            "`journalctl -u docker`, then run this again."
        )


def _knock(path: Path) -> None:
    """Raise `OSError` if nothing listens on `path`, since the HTTP client would leak a socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_ASK_S)
        probe.connect(str(path))
