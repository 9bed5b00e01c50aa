"""Copies agents' SQLite databases as files, consistently, without opening them as databases.

SQLite plays back a journal beside a database and then deletes the file that the journal names as
its super-journal. Run by root, it would delete any file that the agent names. So the database, its
journal and its log are copied as they are. After a restore, the agent's OpenClaw recovers them when
it opens the database in its container.

The copies are consistent if neither database nor journal changed meanwhile. The log may have grown:
SQLite appends to it until it restarts the log with another header (the first 32 bytes,
sqlite.org/walformat.html), and ignores data after the last complete commit.
"""

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from ocmt_cli.backup.hostside.budget import Budget, OverBudget
from ocmt_cli.backup.hostside.extents import copied, extents_of, total
from ocmt_cli.backup.hostside.no_follow import MISSING, opened_file

MAGIC = b"SQLite format 3\0"
JOURNAL, LOG, INDEX = "-journal", "-wal", "-shm"
_SUPER_JOURNAL = "-mj"
_MAX_SUPER_JOURNALS = 8
_WAL_HEADER_BYTES = 32
# Linux's clock for file times (CLOCK_REALTIME_COARSE), which the module time lacks.
_FILE_CLOCK = 5


class Unsettled(Exception):
    """The database changed during every attempt to copy it."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A copied file of a database: the original's name and `stat`, and the copy's descriptor."""

    name: str
    seen: os.stat_result
    file: int


@dataclass(frozen=True, slots=True)
class _Mark:
    """A database's state, read before and after copying to detect a change."""

    files: tuple[tuple[int, int, int, int] | None, ...]
    log: bytes
    settled: bool = field(compare=False)
    """Whether a later change would alter a file time, whose clock ticks every few milliseconds."""


def siblings(name: str, names: Sequence[str]) -> list[str]:
    """The names of a database's journal and log, which need not exist, and of its super-journals.

    Of the latter, up to 8 that are found in `names`.
    """
    named = [one for one in names if one.startswith(name + _SUPER_JOURNAL)]
    return [name + JOURNAL, name + LOG, *named[:_MAX_SUPER_JOURNALS]]


@contextmanager
def copies_of_one_moment(
    name: str, at: int, beside: Sequence[str], *, working: str, budget: Budget, until: float
) -> Iterator[list[Copy]]:
    """Copy the database `name` of the folder `at`, and those of `beside` that exist.

    `working` is a folder for the copies, which agents cannot enter. Makes at least one attempt, and
    retries until the `time.monotonic()` value `until`. Raises `Unsettled`, `OverBudget` or
    `FileNotFoundError`.
    """
    pause_s = 0.002
    while True:
        before = _mark(name, at)
        with ExitStack() as stack:
            made = _copy([name, *beside], at, working, budget, stack)
            if before.settled and before == _mark(name, at):
                yield made
                return
        if time.monotonic() >= until:
            raise Unsettled
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, 0.1)


def _copy(
    names: Sequence[str], at: int, working: str, budget: Budget, stack: ExitStack
) -> list[Copy]:
    made: list[Copy] = []
    left = budget.data_bytes
    for name in names:
        source = opened_file(name, at)
        if source is None:
            if not made:
                os.stat(name, dir_fd=at, follow_symlinks=False)
                raise Unsettled  # replaced since
            continue
        try:
            seen = os.fstat(source)
            # A separate budget, since copied bytes are counted again when they are stored.
            extents = extents_of(source, seen.st_size, Budget(0, budget.entries))
            left -= total(extents)
            if left < 0:
                raise OverBudget("its files exceed --max-agent-gb. Raise that limit")
            target = stack.enter_context(tempfile.TemporaryFile(dir=working)).fileno()  # noqa: SIM115
            copied(source, extents, seen.st_size, target)
        finally:
            os.close(source)
        made.append(Copy(name, seen, target))
    return made


def _mark(name: str, at: int) -> _Mark:
    now = time.clock_gettime_ns(_FILE_CLOCK)
    files: list[tuple[int, int, int, int] | None] = []
    settled = True
    for one in (name, name + JOURNAL):
        try:
            seen = os.stat(one, dir_fd=at, follow_symlinks=False)
        except OSError as error:
            if error.errno not in MISSING:
                raise
            files.append(None)
            continue
        files.append((seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns))
        # A time far in the future: the clock was set back, so a later change is visible as well.
        settled &= not now <= seen.st_ctime_ns < now + 1_000_000_000
    return _Mark(tuple(files), _log_header(name, at), settled)


def _log_header(name: str, at: int) -> bytes:
    log = opened_file(name + LOG, at)
    if log is None:
        return b""
    try:
        return os.pread(log, _WAL_HEADER_BYTES, 0)
    finally:
        os.close(log)
