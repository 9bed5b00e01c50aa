"""Pipes to a program on a host, of which any write, flush or close may fail.

A broken pipe is a return value instead of an exception, since the reason is in the program's exit
code and standard error.
"""

import contextlib
import shutil
import subprocess
import threading
from collections.abc import Iterator
from typing import IO


def pipes_of(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    """Standard input and output of a process that `Host.popen` started."""
    if process.stdin is None or process.stdout is None:
        raise TypeError("a process of Host.popen has pipes")
    return process.stdin, process.stdout


def give(pipe: IO[bytes], data: bytes | IO[bytes]) -> bool:
    """Write to a program's standard input and flush. Returns `False` if the pipe is broken."""
    try:
        if isinstance(data, bytes):
            pipe.write(data)
        else:
            shutil.copyfileobj(data, pipe, 1 << 20)
        pipe.flush()
    except BrokenPipeError:
        return False
    return True


def close(pipe: IO[bytes]) -> None:
    """Close a pipe, discarding unwritten data."""
    with contextlib.suppress(BrokenPipeError):
        pipe.close()


@contextlib.contextmanager
def ended_after(process: subprocess.Popen[bytes], within_s: float) -> Iterator[threading.Event]:
    """Kill a program if the block takes over `within_s` seconds, so that reading from it ends.

    The yielded event is set if the program was killed.
    """
    overdue = threading.Event()

    def kill() -> None:
        overdue.set()
        process.kill()

    timer = threading.Timer(within_s, kill)
    timer.daemon = True
    timer.start()
    try:
        yield overdue
    finally:
        timer.cancel()


def end(process: subprocess.Popen[bytes], *, within_s: float | None = None) -> int:
    """Close a process's pipes and wait; kill it after `within_s` seconds. Returns its exit code."""
    for pipe in pipes_of(process):
        close(pipe)
    try:
        return process.wait(within_s)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
