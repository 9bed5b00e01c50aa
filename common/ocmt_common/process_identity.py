"""Identifies a process by pid and start time, safe against reused pids.

Standard library only: the command sends this to hosts (`ocmt_cli.deploy.program`).
"""

from pathlib import Path
from typing import NamedTuple


class LiveProcess(NamedTuple):
    state: str
    """The kernel's one-letter state: `S`, `T`, …"""
    started_ticks: int
    """In clock ticks since boot (proc(5), field 22 of `/proc/PID/stat`)."""


def live_process(pid: int) -> LiveProcess | None:
    """The process with this pid now; `None` if there is none or it is a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The program's name, in parentheses, may itself contain spaces and parentheses.
    state, *fields = text.rpartition(")")[2].split()
    return None if state in "ZX" else LiveProcess(state, int(fields[18]))


def start_ticks(pid: int) -> int | None:
    """The start time of the process with this pid, in clock ticks; `None` as in `live_process`."""
    process = live_process(pid)
    return None if process is None else process.started_ticks
