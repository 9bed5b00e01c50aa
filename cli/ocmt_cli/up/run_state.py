"""The process that runs a data folder: its lock, and a record of the last run beside it.

The kernel releases the lock when its holder ends, so the lock cannot go stale. The record names the
holder by pid and start time, so that a reused pid is never signalled.
"""

import json
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

from ocmt_common.atomic_files import replace_file
from ocmt_common.file_lock import FileLock, try_lock
from ocmt_common.process_identity import start_ticks

from ocmt_cli.failure import CommandFailed, explained

Phase = Literal["preparing", "starting", "running", "stopping", "stopped"]


@dataclass(frozen=True, slots=True)
class ServerRecord:
    pid: int
    since: str
    """When the process was started, ISO 8601 in UTC."""
    restarts: int = 0


@dataclass(frozen=True, slots=True)
class Record:
    """The record that `down`, `status` and a second `up` read."""

    phase: Phase
    port: int
    runtime: str
    pid: int = 0
    started_ticks: int = 0
    servers: dict[str, ServerRecord] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def is_alive(self) -> bool:
        """Whether the process that wrote the record is still running."""
        return self.started_ticks > 0 and start_ticks(self.pid) == self.started_ticks

    def mine(self) -> "Record":
        """A copy that names this process as the holder."""
        return replace(self, pid=os.getpid(), started_ticks=start_ticks(os.getpid()) or 0)


def try_run_lock(data: Path) -> FileLock | None:
    """Take the lock of a data folder; `None` if another process holds it.

    A background child inherits it through its `fd`.
    """
    with explained(data):
        return try_lock(data / "up.lock")


def write_record(data: Path, record: Record) -> None:
    """Replace the record atomically. Raises `CommandFailed` if it cannot be written."""
    with explained(data):
        replace_file(data / "up.json", json.dumps(asdict(record)), mode=0o644, durable=False)


def note_record(data: Path, record: Record) -> str:
    """Like `write_record`, but return the failure or "": a full disk must not stop a run's end.

    An outdated record is harmless, since its readers check whether the process is alive.
    """
    try:
        write_record(data, record)
    except (CommandFailed, OSError) as failure:
        return str(failure)
    return ""


def read_record(data: Path) -> Record | None:
    """The last record, whether or not its process is alive; `None` if there is none."""
    try:
        read = json.loads((data / "up.json").read_text(encoding="utf-8"))
        servers = {name: ServerRecord(**one) for name, one in read.pop("servers").items()}
        return Record(**read, servers=servers)
    except (OSError, ValueError, KeyError, TypeError):
        return None
