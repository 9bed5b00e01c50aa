"""A component's folder on a host: its releases, the current one, and their state.

.env              the operator's settings; never written here
tls/              certificate, CA and tokens, which `ocmt setup` writes (TLS_DIR)
releases/ID/      VERSION, release.json, venv (servers) or the page's files
current           a link to the release that serves; replaced atomically
state.json        the healthy releases, among others; not which one runs
journal.jsonl     a line per step: what, by whom, when
"""

import hashlib
import json
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ocmt_common.atomic_files import replace_file

UNITS = {"mgmt": "ocmt-management", "agent": "ocmt-agent"}
"""The systemd units' names: NAME.socket, NAME@RELEASE.service, NAME-expand@ and NAME-migrate@."""
MODULES = {"mgmt": "ocmt_management", "agent": "ocmt_agent"}


class StepFailed(Exception):
    """A step failed; `str()` has the reason and the remedy."""


@dataclass(frozen=True)
class Component:
    """A component's description, as sent by the deployer."""

    role: str
    path: Path
    supervisor: str
    listeners: dict[str, str]
    """Name → ADDRESS:PORT of the shared listeners."""
    gate_timeout_s: float
    gate_answers: int
    drain_s: float
    keep_releases: int

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> "Component":
        return cls(**{**said, "path": Path(said["path"])})

    @property
    def env_file(self) -> Path:
        return self.path / ".env"

    def release(self, name: str) -> Path:
        return self.path / "releases" / name

    def releases(self) -> list[str]:
        """All releases on the host, complete or not, oldest first."""
        folder = self.path / "releases"
        return sorted(one.name for one in folder.iterdir()) if folder.is_dir() else []

    def is_complete(self, name: str) -> bool:
        return (self.release(name) / ".complete").exists()

    def meta(self, name: str) -> dict[str, Any]:
        """The build's description of a release: commit, content, revisions; empty if unreadable."""
        try:
            read = json.loads((self.release(name) / "release.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return read if isinstance(read, dict) else {}

    @property
    def current(self) -> str | None:
        try:
            return (self.path / "current").readlink().name
        except OSError:
            return None

    def point(self, name: str | None) -> None:
        """Make `name` the current release, atomically; `None` for none."""
        link = self.path / "current"
        if name is None:
            link.unlink(missing_ok=True)
            return
        fresh = self.path / ".current.new"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(Path("releases") / name)
        fresh.replace(link)

    def state(self) -> dict[str, Any]:
        try:
            read = json.loads((self.path / "state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            read = {}
        return {"healthy": [], "env": {}, "contracted": [], "regretted": {}, **read}

    def save(self, state: dict[str, Any]) -> None:
        replace_file(self.path / "state.json", json.dumps(state), mode=0o644)

    def healthy(self) -> list[str]:
        """The releases that passed the health check and still exist, the newest last."""
        return [name for name in self.state()["healthy"] if self.is_complete(name)]

    def contracted(self) -> list[str]:
        """The contracting migrations that were run; older releases cannot run after them."""
        applied = set(self.state()["contracted"])
        for name in self.healthy():
            applied |= set(self.meta(name).get("contracts", []))
        return sorted(applied)

    def mark_healthy(self, name: str) -> None:
        state = self.state()
        state["healthy"] = [one for one in state["healthy"] if one != name] + [name]
        state["env"] = {name: self.env_digest()}
        content = self.meta(name).get("content")
        regretted = state["regretted"].items()
        state["regretted"] = {one: what for one, what in regretted if what != content}
        self.save(state)

    def regret(self, name: str) -> None:
        """Record a rolled-back release and its content, so that no timer or rollback deploys it."""
        state = self.state()
        newest = dict(list(state["regretted"].items())[-20:])
        self.save({**state, "regretted": {**newest, name: self.meta(name).get("content")}})

    def env_digest(self) -> str:
        """A digest of the operator's settings, whose changes need a restart."""
        try:
            return hashlib.sha256(self.env_file.read_bytes()).hexdigest()
        except OSError:
            return ""

    def note(self, step: str, **more: object) -> None:
        """Add a line to the journal."""
        line = {"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "step": step, **more}
        with (self.path / "journal.jsonl").open("a", encoding="utf-8") as journal:
            journal.write(json.dumps(line) + "\n")

    def certificate(self) -> str:
        """The certificate, without its key, that the other host sees; empty without one."""
        try:
            text = (self.path / "tls" / "host.pem").read_text(encoding="ascii")
        except (OSError, ValueError):
            return ""
        found = re.search("-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----\n?", text)
        return found[0] if found else ""

    def prune(self) -> list[str]:
        """Remove all but the current and the last healthy releases. Returns the names removed."""
        keep = set(self.healthy()[-self.keep_releases :]) | {self.current}
        gone = [name for name in self.releases() if name not in keep]
        for name in gone:
            shutil.rmtree(self.release(name), ignore_errors=True)
            (self.path / "log" / f"{name}.log").unlink(missing_ok=True)
        state = self.state()
        state["healthy"] = [name for name in state["healthy"] if name not in gone]
        self.save(state)
        return gone
