"""Which process runs a data folder: a lock, and a record of the last run beside it.

The kernel releases the lock when its holder ends, so a lock never goes stale. The record names the
holder by pid and start time, so that a reused pid is never signalled.
"""

import fcntl
import json
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

from ocmt_cli.failure import CommandFailed, explained
from ocmt_cli.processes import start_ticks

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
        """Whether the process that wrote it is still running."""
        return self.started_ticks > 0 and start_ticks(self.pid) == self.started_ticks

    def mine(self) -> "Record":
        """A copy that names this process as the holder."""
        return replace(self, pid=os.getpid(), started_ticks=start_ticks(os.getpid()) or 0)


class RunLock:
    """The exclusive right to run a data folder. A background child inherits it by its `fd`."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def release(self) -> None:
        os.close(self.fd)


def try_lock(data: Path) -> RunLock | None:
    """Take the lock; `None` when another process holds it."""
    with explained(data):
        fd = os.open(data / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return RunLock(fd)


def write_record(data: Path, record: Record) -> None:
    """Replace the record atomically. Raises `CommandFailed` when it cannot be written."""
    draft = data / ".up.json.new"
    with explained(data):
        draft.write_text(json.dumps(asdict(record)), encoding="utf-8")
        draft.replace(data / "up.json")


def note_record(data: Path, record: Record) -> str:
    """Like `write_record`, but return the failure, or "": a full disk must not stop a run's end.

    An outdated record does no harm: its readers check whether that process lives.
    """
    try:
        write_record(data, record)
    except (CommandFailed, OSError) as failure:
        return str(failure)
    return ""


def read_record(data: Path) -> Record | None:
    """The last record, whether or not its process lives; `None` without one."""
    try:
        read = json.loads((data / "up.json").read_text(encoding="utf-8"))
        servers = {name: ServerRecord(**one) for name, one in read.pop("servers").items()}
        return Record(**read, servers=servers)
    except (OSError, ValueError, KeyError, TypeError):
        return None
