"""Finds and ends processes without ever signalling a reused pid.

Processes of OCMT are recognised by their environment and held by pidfds, which refer to the same
process even after it has ended.
"""

import os
import select
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

PROC = Path("/proc")


def resident_bytes(pid: int) -> int | None:
    """`pid`'s resident memory in bytes, shared pages included; `None` if it has ended."""
    try:
        pages = int((PROC / str(pid) / "statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def environment(pid: int) -> dict[str, str]:
    """The environment with which `pid` was started; empty if it has ended or is another user's."""
    try:
        raw = (PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return {}
    pairs = (item.decode(errors="replace").partition("=") for item in raw.split(b"\0") if item)
    return {name: value for name, _, value in pairs}


class Process:
    """A process, held by its pidfd."""

    def __init__(self, pid: int) -> None:
        """Raises `ProcessLookupError` if there is no process `pid`."""
        self.pid = pid
        self._fd = os.pidfd_open(pid)

    def send(self, sig: signal.Signals) -> None:
        try:
            signal.pidfd_send_signal(self._fd, sig)
        except ProcessLookupError:
            return

    def wait(self, timeout_s: float) -> bool:
        """Wait up to `timeout_s` seconds. Returns whether the process ended."""
        poller = select.poll()
        poller.register(self._fd, select.POLLIN)
        return bool(poller.poll(max(0.0, timeout_s) * 1000))

    def close(self) -> None:
        os.close(self._fd)


def find(is_ours: Callable[[dict[str, str]], bool]) -> list[Process]:
    """Every other process for whose environment `is_ours` is true. The caller closes them."""
    found = []
    for entry in PROC.iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        if not is_ours(environment(int(entry.name))):
            continue
        try:
            process = Process(int(entry.name))
        except ProcessLookupError:
            continue
        # Check again, now that the pidfd pins it, since the pid may have been reused.
        if is_ours(environment(process.pid)):
            found.append(process)
        else:
            process.close()
    return found


def end(processes: Iterable[Process], *, grace_s: float) -> list[int]:
    """Send SIGTERM to all, then SIGKILL after `grace_s` seconds, and close them.

    Returns the pids that are still running 5 s later.
    """
    remaining = list(processes)
    for sig, patience_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 5.0)):
        for process in remaining:
            process.send(sig)
            thaw(process)
        deadline = time.monotonic() + patience_s
        survivors = []
        for process in remaining:
            if process.wait(deadline - time.monotonic()):
                process.close()
            else:
                survivors.append(process)
        remaining = survivors
        if not remaining:
            break
    left = [process.pid for process in remaining]
    for process in remaining:
        process.close()
    return left


def thaw(process: Process) -> None:
    """Resume a process that is stopped or in a frozen control group, so that it handles signals."""
    process.send(signal.SIGCONT)
    try:
        lines = (PROC / str(process.pid) / "cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if "freezer" in controllers.split(","):
            control, state, thawed = f"freezer{path}", "freezer.state", "THAWED"
        elif controllers == "":
            control, state, thawed = path.lstrip("/"), "cgroup.freeze", "0"
        else:
            continue
        file = Path("/sys/fs/cgroup") / control / state
        try:
            if path != "/" and file.read_text(encoding="ascii").strip() in ("FROZEN", "1"):
                file.write_text(thawed, encoding="ascii")
        except OSError:
            continue
