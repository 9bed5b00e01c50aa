"""Identifies, signals and starts processes, safe against reused pids.

Gateways must outlive this server, so they are not started with asyncio or `subprocess`, whose
objects kill or warn about a running child when they are collected.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ocmt_common.process_identity import live_process


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A pid and its start time in clock ticks since boot (`/proc/<pid>/stat`, field 22)."""

    pid: int
    started_ticks: int

    def state(self) -> str | None:
        """The kernel's one-letter state (`S`, `T`, …); `None` once it has ended."""
        found = live_process(self.pid)
        return found.state if found and found.started_ticks == self.started_ticks else None

    def signal(self, number: signal.Signals) -> bool:
        """Send a signal to this process. Returns `False` if it has ended.

        The pidfd is opened before the identity is checked, so that the pid cannot be reused in
        between.
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

    async def ended(self) -> int | None:
        """Wait until the process ends. Returns a child's exit code (negative: signal) or `None`."""
        with contextlib.suppress(ProcessLookupError):
            fd = os.pidfd_open(self.pid)
            try:
                if self.state() is not None:
                    await _readable(fd)
            finally:
                os.close(fd)
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG)  # noqa: ASYNC222 (does not wait)
        except ChildProcessError:
            return None  # started by an earlier server: init has its exit code
        return os.waitstatus_to_exitcode(status) if pid else None


def identify(pid: int) -> ProcessId | None:
    """The process that has this pid now; `None` if there is none."""
    found = live_process(pid)
    return None if found is None else ProcessId(pid, found.started_ticks)


def spawn(arguments: list[str], *, environment: Mapping[str, str], output: int) -> ProcessId | None:
    """Start a program in a new session; `None` if it ended at once. Raises `OSError`."""
    pid = os.posix_spawn(
        arguments[0],
        arguments,
        environment,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, output, 1),
            (os.POSIX_SPAWN_DUP2, output, 2),
        ],
        setsid=True,
        setsigmask=[],
        setsigdef=[
            signal.SIGPIPE,
            signal.SIGXFSZ,
        ],  # ignored by Python and inherited
    )
    started = identify(pid)
    if started is None:
        os.waitpid(pid, 0)
    return started


def family(leader: ProcessId | None, *, marks: Mapping[str, str]) -> set[ProcessId]:
    """The live processes in the leader's session or with `marks` in their environment.

    This process is left out. A session's id is its leader's pid, which may be reused after the
    leader has ended. The inherited marks also find processes that outlived the leader or created
    another session.
    """
    session = leader.pid if leader is not None and leader.state() is not None else None
    wanted = {f"{name}={value}".encode() for name, value in marks.items()}
    members = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        pid = int(entry.name)
        found = identify(pid)
        if found is None or pid == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if os.getsid(pid) == session or wanted <= set(
                (entry / "environ").read_bytes().split(b"\0")
            ):
                members.add(found)
    return members


async def stop_all(members: Callable[[], Iterable[ProcessId]], *, within_s: float) -> None:
    """Send SIGSTOP until all members are stopped, including children started meanwhile.

    After `within_s` seconds, continues all and raises `TimeoutError`.
    """
    try:
        async with asyncio.timeout(within_s):
            while moving := [one for one in members() if one.state() not in ("T", None)]:
                for one in moving:
                    one.signal(signal.SIGSTOP)
                await asyncio.sleep(0.005)
    except TimeoutError:
        continue_all(members())
        raise TimeoutError("not all of the agent's processes stopped in time") from None


def continue_all(members: Iterable[ProcessId]) -> None:
    for one in members:
        one.signal(signal.SIGCONT)


async def gone(processes: Iterable[ProcessId], *, within_s: float) -> bool:
    """Wait up to `within_s` seconds until all processes have ended. Returns whether they have."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    for process in processes:
        while process.state() is not None:
            if loop.time() > deadline:
                return False
            await asyncio.sleep(0.02)
    return True


async def _readable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(fd, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(fd)
