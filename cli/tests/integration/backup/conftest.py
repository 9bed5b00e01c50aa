"""A host's agents in a temporary folder, backed up and restored by the real programs, without
ssh."""

import io
import json
import subprocess
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import pytest
from ocmt_cli.backup.agents import fetch_agents, stage_agents
from ocmt_cli.backup.hostside import frames, restore
from ocmt_cli.backup.hostside.dump import dump_agents
from ocmt_cli.backup.manifest import LeftOut, Part
from ocmt_cli.deploy.hostside.restored_data import put_in_place
from ocmt_cli.deploy.remote import LocalHost

Entry = tarfile.TarInfo | tuple[tarfile.TarInfo, bytes]


class Replaying(LocalHost):
    """A host whose programs print a file's content."""

    def __init__(self, file: Path) -> None:
        super().__init__("host")
        self._file = file

    def popen(self, argv: Sequence[str], *, stderr: IO[bytes]) -> subprocess.Popen[bytes]:
        return super().popen(["cat", str(self._file)], stderr=stderr)


@dataclass
class Agents:
    """The agents' folder `place` of a host, and a backup of it."""

    folder: Path
    parts: list[Part] = field(default_factory=list)
    data_bytes: int = 1_000_000_000

    @property
    def place(self) -> Path:
        return self.folder / "data" / "agents"

    @property
    def copy(self) -> Path:
        return self.folder / "copy"

    def state(self, agent: str = "u1") -> Path:
        """The folder in which an agent writes, made if missing."""
        state = self.place / agent / "state"
        state.mkdir(parents=True, exist_ok=True)
        return state

    def back_up(self) -> list[LeftOut]:
        """Back up; returns what could not be stored."""
        return self._fetch(LocalHost("host"))

    def back_up_in_this_process(self) -> list[LeftOut]:
        """The same, for tests that patch the program on the host."""
        sent = self.folder / "sent"
        with sent.open("wb") as out:
            dump_agents(self.place, self.data_bytes, out)
        return self._fetch(Replaying(sent))

    def _fetch(self, host: LocalHost) -> list[LeftOut]:
        self.parts, left_out = fetch_agents(
            host, str(self.place), self.copy, data_bytes=self.data_bytes
        )
        return left_out

    def restore(self) -> list[LeftOut]:
        """Restore; returns what was refused. The old folder is kept beside the new one."""
        staged, refused = stage_agents(LocalHost("host"), str(self.place), self.copy, self.parts)
        self._switch(staged)
        return refused

    def restore_in_this_process(self) -> list[LeftOut]:
        out = io.StringIO()
        restore.stage_agents(self.place, self.as_sent(), out)
        said = json.loads(out.getvalue())
        self._switch(said["staged"])
        return [LeftOut("host", one, "", why) for one, why in said["refused"]]

    def _switch(self, staged: str) -> None:
        move = {"kind": "files", "staged": staged, "place": str(self.place)}
        put_in_place(move, "before-restore-1")

    def as_sent(self) -> io.BytesIO:
        """The bytes sent to the host to restore the backup."""
        sent = io.BytesIO()
        for part in self.parts:
            agent = Path(part.file).name.removesuffix(".tar.gz")
            frames.send_json(sent, frames.BEGIN, {"agent": agent})
            frames.send(sent, frames.DATA, (self.copy / part.file).read_bytes())
            frames.send(sent, frames.END)
        frames.send(sent, frames.LAST)
        return io.BytesIO(sent.getvalue())

    def stored(self, agent: str = "u1") -> dict[str, tarfile.TarInfo]:
        """The entries of an agent's archive, by path."""
        with tarfile.open(self._archive(agent), errors="surrogateescape") as archive:
            return {one.name: one for one in archive}

    def stored_bytes(self, path: str, agent: str = "u1") -> bytes:
        with tarfile.open(self._archive(agent), errors="surrogateescape") as archive:
            data = archive.extractfile(path)
            assert data is not None
            return data.read()

    def _archive(self, agent: str) -> Path:
        return next(self.copy / one.file for one in self.parts if f"/{agent}." in one.file)

    def craft(self, agent: str, *entries: Entry, before: Sequence[Entry] | None = None) -> None:
        """Add an archive to the backup that our programs would not write."""
        name = f"data/host-agents/{agent}.tar.gz"
        file = self.copy / name
        file.parent.mkdir(parents=True, exist_ok=True)
        above = (folder_entry(agent), folder_entry(f"{agent}/state"))
        write_archive(file, [*(above if before is None else before), *entries])
        self.parts.append(Part(name, "files", "host", "agent", str(self.place), "", 0))


def write_archive(file: Path, entries: Sequence[Entry]) -> None:
    with tarfile.open(file, "w:gz") as archive:
        for entry in entries:
            made, data = entry if isinstance(entry, tuple) else (entry, b"")
            made.size = len(data)
            archive.addfile(made, io.BytesIO(data))


def folder_entry(path: str, *, uid: int = 1000) -> tarfile.TarInfo:
    made = tarfile.TarInfo(path)
    made.type, made.mode, made.uid, made.gid = tarfile.DIRTYPE, 0o700, uid, uid
    return made


@pytest.fixture
def agents(tmp_path: Path) -> Agents:
    made = Agents(tmp_path)
    made.place.mkdir(parents=True)
    return made
