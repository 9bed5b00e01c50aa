"""The Docker Engine, asked over its socket: is it there, has it the image, what runs for us."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2

_DEFAULT = "unix:///var/run/docker.sock"


@dataclass(frozen=True, slots=True)
class EngineContainer:
    id: str
    state: str


class Engine:
    """A connection to the engine that `DOCKER_HOST` names, or the one on this machine."""

    def __init__(self, address: str | None = None) -> None:
        parts = urlsplit(address or os.environ.get("DOCKER_HOST") or _DEFAULT)
        local = parts.scheme == "unix"
        self._socket = Path(parts.path) if local else None
        self._http = httpx2.Client(
            transport=httpx2.HTTPTransport(uds=parts.path) if local else None,
            base_url="http://docker" if local else f"http://{parts.netloc}",
            timeout=5,
            trust_env=False,
        )

    def version(self) -> str | None:
        """The engine's version, or `None` when no engine answers."""
        try:
            answer = self._http.get("/version")
        except (httpx2.TransportError, OSError):
            return None
        return str(answer.json()["Version"]) if answer.status_code == 200 else None

    def cure(self) -> str:
        """What to do about an engine that does not answer."""
        socket = self._socket
        if socket is not None and socket.exists() and not os.access(socket, os.R_OK | os.W_OK):
            return (
                f"{socket} is there, but not for this user: be root, or in the socket's group "
                "(usermod -aG docker USER, then sign in anew)."
            )
        return "Install it (apt-get install docker.io) and start it (systemctl start docker)."

    def request(self, method: str, path: str, **options: Any) -> httpx2.Response:
        """One call of the Engine API, for what has no method here."""
        return self._http.request(method, path, **options)

    def has_image(self, name: str) -> bool:
        try:
            return self._http.get(f"/images/{name}/json").status_code == 200
        except (httpx2.TransportError, OSError):
            return False

    def containers(self, label: str) -> list[EngineContainer]:
        """Those with the label `NAME=VALUE`, running or paused."""
        filters = json.dumps({"label": [label], "status": ["running", "paused", "restarting"]})
        answer = self._http.get("/containers/json", params={"filters": filters})
        answer.raise_for_status()
        return [EngineContainer(item["Id"], item["State"]) for item in answer.json()]

    def stop(self, container: EngineContainer, *, grace_s: int) -> None:
        """End it; a paused one is thawed first, since it could not hear the request."""
        if container.state == "paused":
            self._http.post(f"/containers/{container.id}/unpause")
        self._http.post(
            f"/containers/{container.id}/stop", params={"t": grace_s}, timeout=grace_s + 30
        ).raise_for_status()

    def close(self) -> None:
        self._http.close()
