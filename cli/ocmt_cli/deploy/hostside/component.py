"""A component's folder on a host: its releases, the current one, and the recorded state.

.env              the operator's settings; a deploy never writes it, a rollback may take it back
tls/              certificate, CA and tokens, which `ocmt setup` writes (TLS_DIR)
releases/ID/      VERSION, release.json, settings.env, venv (servers) or the page's files
current           a link to the release that serves; replaced atomically
state.json        the healthy releases, unfinished rollbacks and restores, a freeze
journal.jsonl     a line per step: what, by whom, when
"""

import contextlib
import hashlib
import json
import os
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
_MOST_REGRETTED = 20
_RELEASE = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{12}")
_FOLDERS = ("", "releases", "wheels", "tools", "cache", "log", "run")
_FILES = (".env", "state.json", "journal.jsonl", "deploy.lock")


def utc_now() -> str:
    """ISO 8601, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


class StepFailed(Exception):
    """A step failed. `str()` is the reason and the cure."""


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
        if not folder.is_dir():
            return []
        return sorted(
            one.name
            for one in folder.iterdir()
            if _RELEASE.fullmatch(one.name) and one.is_dir() and not one.is_symlink()
        )

    def is_complete(self, name: str) -> bool:
        return (self.release(name) / ".complete").exists()

    def meta(self, name: str) -> dict[str, Any]:
        """A release's description by its build; empty if unreadable.

        Among others: commit, content, revisions, and of these those that contract (`contracts`).
        """
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

    @property
    def has_folder_as_current(self) -> bool:
        link = self.path / "current"
        return link.exists() and not link.is_symlink()

    def obstacles(self) -> list[str]:
        """Paths with a file or a broken link in place of a folder, or the other way around."""
        folders = [self.path / name for name in _FOLDERS]
        files = [self.path / name for name in _FILES]
        wrong = [one for one in folders if os.path.lexists(one) and not one.is_dir()]
        wrong += [one for one in files if os.path.lexists(one) and not one.is_file()]
        return [str(one) for one in wrong]

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
            read = None
        fresh: dict[str, Any] = {"healthy": [], "env": {}, "contracted": [], "regretted": {}}
        fresh |= {"rollback": None, "rolled_back": None}
        fresh |= {"restore": None, "restored": None, "forgotten": [], "unmigrated": False}
        fresh |= {"frozen": None}
        return {**fresh, **read} if isinstance(read, dict) else fresh

    def save(self, state: dict[str, Any]) -> None:
        replace_file(self.path / "state.json", json.dumps(state), mode=0o644)

    def healthy(self) -> list[str]:
        """The complete releases that have passed the health check, the newest last."""
        return [name for name in self.state()["healthy"] if self.is_complete(name)]

    def contracted(self) -> list[str]:
        """The contracting migrations that have been run, after which older releases cannot run."""
        state = self.state()
        applied = set(state["contracted"])
        for name in self.healthy():
            if name not in state["forgotten"]:
                applied |= set(self.meta(name).get("contracts", []))
        return sorted(applied)

    def record_settings(self, name: str) -> None:
        """Record the settings that a release is about to be started with, and their digest."""
        with contextlib.suppress(OSError):
            replace_file(self.settings_of(name), self.env_file.read_bytes())
        state = self.state()
        self.save({**state, "env": {**state["env"], name: self.env_digest()}})

    def settings_of(self, name: str) -> Path:
        """The copy of the settings (.env) that a release was last started with; for root only."""
        return self.release(name) / "settings.env"

    def mark_healthy(self, name: str) -> None:
        """Record that `name` serves, which cancels a recorded rollback to another release.

        A rollback to `name` stays recorded until it is confirmed. Later rollbacks do not choose the
        last 20 releases that were rolled back; once their content is healthy again, it may be
        deployed again.
        """
        state = self.state()
        state["healthy"] = [one for one in state["healthy"] if one != name] + [name]
        state["env"] = {name: state["env"].get(name, self.env_digest())}
        pending = state["rollback"]
        regretted = {one: what for one, what in state["regretted"].items() if one != name}
        if pending is not None:
            left = pending["from"]
            if left not in (None, name):
                regretted[left] = pending["content"]
            if pending["to"] == name:
                state["rolled_back"] = pending
            else:
                state["rollback"] = None
        state["forgotten"] = [one for one in state["forgotten"] if one != name]
        state["unmigrated"] = False
        content = self.meta(name).get("content")
        newest = list(regretted.items())[-_MOST_REGRETTED:]
        state["regretted"] = {one: what if what != content else None for one, what in newest}
        self.save(state)

    def end_rollback(self) -> None:
        """Remove the record of a rollback."""
        self.save({**self.state(), "rollback": None})

    def intend_rollback(self, to: str, *, why: str, who: str) -> None:
        """Record a rollback before it begins, so that it can be resumed."""
        state = self.state()
        before = state["rollback"] or {
            "from": self.current,
            "content": self.meta(self.current).get("content") if self.current else None,
        }
        state["rollback"] = {
            "from": before["from"],
            "content": before["content"],
            "to": to,
            "settings": before.get("settings", False),
            "why": why,
            "who": who,
            "at": utc_now(),
        }
        self.save(state)

    def end_restore(self) -> None:
        """Record that all data is replaced, and forget the old database's migrations."""
        state = self.state()
        state |= {"restored": state["restore"]["id"], "restore": None}
        state |= {"contracted": [], "forgotten": state["healthy"]}
        self.save({**state, "unmigrated": True})

    def env_digest(self) -> str:
        """A digest of the operator's settings, whose changes require a restart.

        Comments and blank lines do not count. Empty if `.env` cannot be read.
        """
        try:
            lines = self.env_file.read_bytes().splitlines()
        except OSError:
            return ""
        settings = [one for one in lines if one.strip() and not one.lstrip().startswith(b"#")]
        return hashlib.sha256(b"\n".join(settings)).hexdigest()

    def has_other_settings(self, name: str) -> bool:
        """Whether `.env` has changed since a release was last started."""
        return self.state()["env"].get(name) not in (None, self.env_digest())

    def note(self, step: str, **more: object) -> None:
        """Add a line to the journal."""
        line = {"at": utc_now(), "step": step, **more}
        with (self.path / "journal.jsonl").open("a", encoding="utf-8") as journal:
            journal.write(json.dumps(line) + "\n")

    def certificate(self) -> str:
        """This host's certificate for the other host, without the key; empty if there is none."""
        try:
            text = (self.path / "tls" / "host.pem").read_text(encoding="ascii")
        except (OSError, ValueError):
            return ""
        found = re.search("-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----\n?", text)
        return found[0] if found else ""

    def prune(self) -> list[str]:
        """Remove all releases except the current one and the last `keep_releases` healthy ones.

        Returns the names of the removed releases.
        """
        keep = set(self.healthy()[-self.keep_releases :]) | {self.current}
        gone = [name for name in self.releases() if name not in keep]
        for name in gone:
            shutil.rmtree(self.release(name), ignore_errors=True)
            (self.path / "log" / f"{name}.log").unlink(missing_ok=True)
        state = self.state()
        state["healthy"] = [name for name in state["healthy"] if name not in gone]
        self.save(state)
        return gone
