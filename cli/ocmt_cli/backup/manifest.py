"""A backup's list of contents, by which `restore` knows that it is whole. Pure but for reading."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from ocmt_cli.deploy.inventory import Role
from ocmt_cli.failure import CommandFailed

FORMAT = 2
_READABLE = (1, 2)
"""In format 1, one archive has all agents of a host, and nothing is left out."""
_NAME = "manifest.json"
Kind = Literal["sqlite", "postgresql", "files", "env"]


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a backup, and where it belongs."""

    file: str
    """Relative to the backup's folder."""
    kind: Kind
    host: str
    role: Role
    place: str
    """The path on the host; for PostgreSQL empty, since the `.env` says where."""
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What the backup lacks of one agent, or the restore did not put back."""

    host: str
    agent: str
    path: str
    """In the agent's folder; empty: all of the agent."""
    reason: str

    def __str__(self) -> str:
        where = f"{self.agent}: {self.path}" if self.path else self.agent
        return f"{self.host}: {where}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Manifest:
    made_at: str
    """UTC, ISO 8601."""
    parts: tuple[Part, ...]
    left_out: tuple[LeftOut, ...] = ()


def digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def write_manifest(folder: Path, manifest: Manifest) -> None:
    said = {"format": FORMAT, **asdict(manifest)}
    (folder / _NAME).write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> Manifest:
    """Raises `CommandFailed` for a folder that is no backup, or one of which a byte differs."""
    try:
        said = json.loads((folder / _NAME).read_text(encoding="utf-8"))
        if said["format"] not in _READABLE:
            raise CommandFailed(
                f"{folder} was made by another version of ocmt (format {said['format']}). Restore "
                "it with that version."
            )
        parts = tuple(Part(**part) for part in said["parts"])
        left_out = tuple(LeftOut(**one) for one in said.get("left_out", ()))
        manifest = Manifest(said["made_at"], parts, left_out)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CommandFailed(
            f"{folder} is not a whole backup: {_NAME} is missing or spoiled ({error})."
        ) from error
    for part in manifest.parts:
        file = folder / part.file
        if not file.resolve().is_relative_to(folder.resolve()):
            raise CommandFailed(f"{folder}: {part.file} is outside of the backup.")
        if not file.is_file():
            raise CommandFailed(
                f"{folder}: {part.file} is missing. Keys are kept apart from data: put both back "
                "beside manifest.json before restoring."
            )
        if file.stat().st_size != part.size or digest(file) != part.sha256:
            raise CommandFailed(
                f"{folder}: {part.file} is not what was backed up (its checksum differs). Use "
                "another backup."
            )
    return manifest
