"""Ends a program on a host whose streams stand still, which would block a backup forever."""

import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BufferedReader
from typing import IO, cast

from ocmt_cli.deploy.pipes import pipes_of

_BLOCK = 1 << 16


@dataclass
class Progress:
    """When a program last took or printed a byte, and whether it stalled."""

    stalled: threading.Event = field(default_factory=threading.Event)
    """Set if the program was killed, since it moved no byte for too long."""
    moved_at: float = field(default_factory=time.monotonic)

    def moved(self) -> None:
        self.moved_at = time.monotonic()


@contextmanager
def ended_when_stalled(
    process: subprocess.Popen[bytes], within_s: float
) -> Iterator[tuple[IO[bytes], IO[bytes], Progress]]:
    """Kill a program that moves no byte for `within_s` seconds.

    Yields its standard input and output, and the progress; the program must only be used by these.
    """
    progress = Progress()
    over = threading.Event()

    def watch() -> None:
        while not over.wait(max(0.01, progress.moved_at + within_s - time.monotonic())):
            if time.monotonic() - progress.moved_at >= within_s:
                progress.stalled.set()
                process.kill()
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    given, printed = (cast(IO[bytes], _Watched(pipe, progress)) for pipe in pipes_of(process))
    try:
        yield given, printed, progress
    finally:
        over.set()
        watcher.join()


class _Watched:
    """A pipe that is read and written in blocks, each of which counts as progress."""

    def __init__(self, pipe: IO[bytes], progress: Progress) -> None:
        self._pipe = pipe
        self._progress = progress

    def read(self, size: int = -1) -> bytes:
        read = bytearray()
        while size < 0 or len(read) < size:
            wanted = _BLOCK if size < 0 else min(_BLOCK, size - len(read))
            block = cast(BufferedReader, self._pipe).read1(wanted)
            if not block:
                break
            self._progress.moved()
            read += block
        return bytes(read)

    def write(self, data: bytes) -> int:
        for start in range(0, len(data), _BLOCK):
            self._pipe.write(data[start : start + _BLOCK])
            self._progress.moved()
        return len(data)

    def flush(self) -> None:
        self._pipe.flush()
        self._progress.moved()

    def close(self) -> None:
        self._pipe.close()
