"""Pipes to a program on a host. Any write, flush or close fails when the host is lost.

That the pipe broke says nothing of why: the program's exit code and standard error do. So a broken
pipe is told by a return value, and never raised.
"""

import contextlib
import shutil
import subprocess
from typing import IO


def pipes_of(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    """Standard input and output of a process that `Host.popen` started."""
    if process.stdin is None or process.stdout is None:
        raise TypeError("a process of Host.popen has pipes")
    return process.stdin, process.stdout


def give(pipe: IO[bytes], data: bytes | IO[bytes]) -> bool:
    """Write to a program's standard input at once; False when nobody reads it any more."""
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
    """Close a pipe; what could not be written any more is dropped."""
    with contextlib.suppress(BrokenPipeError):
        pipe.close()


def end(process: subprocess.Popen[bytes], *, within_s: float | None = None) -> int:
    """Close a process's pipes and wait for its end, or kill it after `within_s`; its exit code."""
    for pipe in pipes_of(process):
        close(pipe)
    try:
        return process.wait(within_s)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
