"""The list of a backup's files, from which `restore` checks that the backup is complete."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from ocmt_cli.deploy.inventory import ORDER, Role
from ocmt_cli.failure import CommandFailed

FORMAT = 2
_READABLE = (1, 2)
"""Format 1 has one archive with all agents of a host, and leaves nothing out."""
_NAME = "manifest.json"
Kind = Literal["sqlite", "postgresql", "files", "env"]


@dataclass(frozen=True, slots=True)
class Part:
    """A file of a backup, and its place on a host."""

    file: str
    """The file's path, relative to the backup's folder."""
    kind: Kind
    host: str
    role: Role
    place: str
    """The path on the host; empty for PostgreSQL, whose address is in the `.env`."""
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A part of one agent that was not backed up, or not restored."""

    host: str
    agent: str
    path: str
    """Relative to the agent's folder; empty for the whole agent."""
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


def _part(said: dict[str, Any]) -> Part:
    """A part from the manifest. Raises `ValueError` or `TypeError` for an entry that is damaged."""
    part = Part(**said)
    if part.role not in ORDER or part.kind not in get_args(Kind):
        raise ValueError(f"{part.role} {part.kind} is no part of a backup")
    texts = (part.file, part.host, part.place, part.sha256)
    if not (all(isinstance(one, str) for one in texts) and isinstance(part.size, int)):
        raise ValueError(f"the entry of {part.file} is damaged")
    return part


def read_manifest(folder: Path) -> Manifest:
    """Read a backup's manifest and check its files.

    Raises `CommandFailed` if the manifest or a file is missing or damaged, or of another format.
    """
    try:
        said = json.loads((folder / _NAME).read_text(encoding="utf-8"))
        if said["format"] not in _READABLE:
            raise CommandFailed(
                f"{folder} was made by another version of ocmt (format {said['format']}). Restore "
                "it with that version."
            )
        parts = tuple(_part(part) for part in said["parts"])
        left_out = tuple(LeftOut(**one) for one in said.get("left_out", ()))
        manifest = Manifest(said["made_at"], parts, left_out)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CommandFailed(
            f"{folder} is not a complete backup: {_NAME} is missing or damaged ({error})."
        ) from error
    for part in manifest.parts:
        file = folder / part.file
        if not file.resolve().is_relative_to(folder.resolve()):
            raise CommandFailed(f"{folder}: {part.file} lies outside the backup's folder.")
        if not file.is_file():
            raise CommandFailed(
                f"{folder}: {part.file} is missing. Keys are stored apart from data: put both "
                "folders beside manifest.json before you restore."
            )
        if file.stat().st_size != part.size or digest(file) != part.sha256:
            raise CommandFailed(
                f"{folder}: {part.file} has changed since the backup (its checksum differs). Use "
                "another backup."
            )
    return manifest
