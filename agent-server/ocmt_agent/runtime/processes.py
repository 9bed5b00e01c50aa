"""Naming a process so that a reused pid is never mistaken for it, and signalling only that one."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A pid and the moment it started (clock ticks since boot, `/proc/<pid>/stat` field 22)."""

    pid: int
    started_ticks: int

    def state(self) -> str | None:
        """The kernel's one-letter state (`S`, `T`, …), or `None` once it is gone or a zombie."""
        read = _read_stat(self.pid)
        if read is None or read[1] != self.started_ticks or read[0] in "ZX":
            return None
        return read[0]

    def signal(self, number: signal.Signals) -> bool:
        """Send a signal to this very process; `False` when it is gone.

        Through a pidfd taken before the identity is checked, so that nothing can come in between.
        """
        try:
            fd = os.pidfd_open(self.pid)
        except OSError:
            return False
        try:
            if self.state() is None:
                return False
            signal.pidfd_send_signal(fd, number)
        except OSError:
            return False
        finally:
            os.close(fd)
        return True


def identify(pid: int) -> ProcessId | None:
    """The running process with this pid now."""
    read = _read_stat(pid)
    return None if read is None or read[0] in "ZX" else ProcessId(pid, read[1])


def session_members(session: int) -> list[ProcessId]:
    """Every live process of a session: a gateway and all it started, unless it left on purpose."""
    members = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        pid = int(entry.name)
        try:
            if os.getsid(pid) != session:
                continue
        except OSError:
            continue
        found = identify(pid)
        if found is not None:
            members.append(found)
    return members


def _read_stat(pid: int) -> tuple[str, int] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return fields[0], int(fields[19])
