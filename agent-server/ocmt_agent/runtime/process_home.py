"""A user's folder under the process runtime, and the record of its gateway process.

The agent runs as this server's user and can create links here. Its configuration and its log are
not read or written through one.
"""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ocmt_common.atomic_files import replace_file

from ocmt_agent.runtime.gateway_config_file import ConfigChange, change_config, write_config
from ocmt_agent.runtime.processes import ProcessId
from ocmt_agent.runtime.tail import tail

_MAX_LOG_BYTES = 5 * 1024 * 1024
_PRIVATE = 0o600


@dataclass(frozen=True, slots=True)
class Record:
    """A gateway's process, port and fingerprint, with which a restarted server finds it."""

    process: ProcessId
    port: int
    spec: str


class AgentHome:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.config = folder / "openclaw.json"
        self.temporary = folder / "tmp"
        self._record = folder / "process.json"
        self._log = folder / "gateway.log"

    def make(self) -> None:
        for folder in (self.folder, self.state, self.temporary):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.geteuid() == 0:
            # Take the folder over from the Docker runtime, which checks its owner.
            os.chown(self.state, 0, 0, follow_symlinks=False)

    # Neither write waits for the disk: the configuration is written before each start, and the
    # recorded process does not survive a power cut.

    def write_config(self, config: dict[str, Any]) -> None:
        write_config(self.config, config, mode=_PRIVATE, durable=False)

    def change_config(self, change: ConfigChange) -> None:
        change_config(self.config, change, mode=_PRIVATE, durable=False)

    def open_log(self) -> int:
        """Open the log for appending. Returns a descriptor that the caller closes."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(self._log, flags, 0o600)

    def bound_log(self) -> None:
        """Copy a log over 5 MiB to `gateway.log.1`, and truncate it: the gateway has it open."""
        try:
            if self._log.is_symlink() or self._log.stat().st_size <= _MAX_LOG_BYTES:
                return
            older = self._log.with_suffix(".log.1")
            older.unlink(missing_ok=True)
            shutil.copyfile(self._log, older)
            os.truncate(self._log, 0)
        except OSError:
            return  # probably a full disk; retried later

    def log_tail(self, lines: int, start: int = 0) -> str:
        """The log's `tail`; empty if the agent has replaced the log with a link."""
        return "" if self._log.is_symlink() else tail(self._log, lines, start)

    def save(self, record: Record) -> None:
        process = record.process
        values = {
            "pid": process.pid,
            "startedTicks": process.started_ticks,
            "port": record.port,
            "spec": record.spec,
        }
        replace_file(self._record, json.dumps(values), durable=False)

    def record(self) -> Record | None:
        """The stored record; `None` if it is missing or damaged.

        Callers must check that its process still runs.
        """
        try:
            read = json.loads(self._record.read_text())
            process = ProcessId(int(read["pid"]), int(read["startedTicks"]))
            return Record(process, int(read["port"]), str(read["spec"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None
