"""Streams data to and from programs on a host, so that a backup may be larger than memory."""

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ocmt_cli.backup.stalls import ended_when_stalled
from ocmt_cli.deploy.host_failures import hangs
from ocmt_cli.deploy.pipes import close, end, give
from ocmt_cli.deploy.program import packed, python_argv
from ocmt_cli.deploy.remote import Host

_END_S = 15
STALLED_S = 900.0
"""Seconds without a byte, after which a program counts as hanging: a host copies a large database
before it sends the first one."""


def program(step: str, place: str, *more: object) -> tuple[list[str], bytes]:
    """The command that runs `hostside.main` on a host, and its first bytes of standard input."""
    argv = python_argv("ocmt_cli.backup.hostside.main")
    return [*argv, step, place, *map(str, more)], packed("backup/hostside")


@contextmanager
def running(
    remote: Host, argv: Sequence[str], *, step: str, first: bytes = b""
) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """Run a command on a host, and write `first` to it. Yields its standard input and output.

    Raises `HostFailed` if its exit code is not 0, if no byte moves for `STALLED_S`, or if the block
    raises `StreamEnded`.
    """
    with tempfile.TemporaryFile() as errors:
        process = remote.popen(argv, stderr=errors)
        with ended_when_stalled(process, STALLED_S) as (given, printed, progress):
            try:
                give(given, first)
                yield given, printed
                close(given)
                printed.read()
                code, ended = end(process), None
            except StreamEnded as error:
                code, ended = end(process, within_s=_END_S), error
            except BaseException:
                end(process, within_s=0)  # the failure is on this side
                raise
        if progress.stalled.is_set():
            raise hangs(remote.name, step, STALLED_S)
        errors.seek(0)
        if code != 0:
            raise remote.failure(code, errors.read().decode(errors="replace"), step)
        if ended is not None:
            raise remote.failure(1, str(ended), step)


class StreamEnded(Exception):
    """The program's output ended early or is malformed."""


class Kept:
    """A new file of a backup; its SHA-256 and size are computed as it is written."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.touch(mode=0o600, exist_ok=False)
        self.size = 0
        self._hash = hashlib.sha256()
        self._file = file.open("wb")

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._hash.update(data)
        self.size += len(data)

    def close(self) -> tuple[str, int]:
        """Close the file. Returns its SHA-256 and its size in bytes."""
        self._file.close()
        return self._hash.hexdigest(), self.size


def fetch(
    remote: Host, argv: Sequence[str], file: Path, *, step: str, first: bytes = b""
) -> tuple[str, int]:
    """Stream a command's output into a new file. Returns its SHA-256 and its size in bytes.

    Raises `HostFailed`, or `OSError` if the file cannot be written.
    """
    kept = Kept(file)
    try:
        with running(remote, argv, step=step, first=first) as (given, printed):
            close(given)
            while block := printed.read(1 << 20):
                kept.write(block)
    finally:
        found = kept.close()
    return found


def send(remote: Host, argv: Sequence[str], file: Path, *, step: str, first: bytes = b"") -> str:
    """Stream a file into a command. Returns what the command prints.

    Raises `HostFailed`, or `OSError` if the file cannot be read.
    """
    with file.open("rb") as kept, running(remote, argv, step=step, first=first) as (given, printed):
        give(given, kept)
        close(given)
        return printed.read().decode(errors="replace")
