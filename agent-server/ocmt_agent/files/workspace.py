"""Lists, reads and writes the files below a workspace, while the agent may change them.

Each name of a path is opened below its folder's descriptor and without following a link, so that no
file outside of the workspace is reached, also if the agent exchanges folders meanwhile. Only plain
files are opened: a FIFO would block, and a device is not the agent's.
"""

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from io import FileIO
from itertools import islice
from pathlib import Path
from uuid import uuid4

from ocmt_common.agent_api import FileEntry, FileKind, FileListing
from ocmt_common.problems import Problem

from ocmt_agent.files.paths import is_plain, shown

MOST_UPLOAD_BYTES = 16 * 1024 * 1024
_MOST_DOWNLOAD_BYTES = 1024 * 1024 * 1024
_MOST_ENTRIES = 2000
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FULL = (errno.ENOSPC, errno.EDQUOT)
# A link in place of a folder is ENOTDIR, in place of a file ELOOP; a socket is ENXIO.
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)


class Workspace:
    """The methods block, so call them in a thread. They raise `Problem`."""

    def __init__(self, home: Path) -> None:
        """`home` is the agent's folder, which the agent cannot replace."""
        self._home = home

    def listing(self, names: Sequence[str]) -> FileListing:
        """At most `_MOST_ENTRIES` entries of a folder, folders first.

        None for a workspace that is not made yet.
        """
        try:
            with self._folder(names) as folder, os.scandir(folder) as entries:
                found = list(islice(entries, _MOST_ENTRIES + 1))
                rows = [_entry(entry) for entry in found[:_MOST_ENTRIES]]
        except Problem as problem:
            if names or problem.code != "no-such-file":
                raise
            rows, found = [], []
        rows.sort(key=lambda row: (row.kind is not FileKind.FOLDER, row.name.lower(), row.name))
        return FileListing(entries=rows, more=len(found) > _MOST_ENTRIES)

    def open(self, names: Sequence[str]) -> tuple[FileIO, int]:
        """A plain file, opened for reading, and its size now."""
        with self._folder(names[:-1]) as folder, _problems():
            descriptor = os.open(names[-1], _FILE, dir_fd=folder)
        seen = os.fstat(descriptor)
        if not stat.S_ISREG(seen.st_mode):
            os.close(descriptor)
            raise _not_a_file()
        if seen.st_size > _MOST_DOWNLOAD_BYTES:
            os.close(descriptor)
            raise Problem(
                413,
                "file-too-large",
                "This file is larger than 1 GB. Ask your agent to split or compress it.",
            )
        return FileIO(descriptor, "r"), seen.st_size

    def write(self, names: Sequence[str], content: bytes) -> None:
        """Make or replace a file, which then belongs to the agent."""
        with self._folder(()) as root:
            owner = os.fstat(root)
        draft = f".ocmt-upload-{uuid4().hex}"
        with self._folder(names[:-1]) as folder, _problems():
            with suppress(FileNotFoundError):
                present = os.stat(names[-1], dir_fd=folder, follow_symlinks=False)
                if not stat.S_ISREG(present.st_mode):
                    raise _not_a_file()
            descriptor = os.open(draft, _NEW_FILE, 0o600, dir_fd=folder)
            try:
                with FileIO(descriptor, "w") as file:
                    rest = memoryview(content)
                    while rest:
                        rest = rest[file.write(rest) or 0 :]
                    if os.geteuid() == 0:
                        os.fchown(descriptor, owner.st_uid, owner.st_gid)
                # Replaces a link that came meanwhile, and does not follow it.
                os.rename(draft, names[-1], src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                with suppress(OSError):
                    os.unlink(draft, dir_fd=folder)
                raise

    @contextmanager
    def _folder(self, names: Sequence[str]) -> Iterator[int]:
        """A descriptor of a folder of the workspace."""
        with _problems():
            descriptor = os.open(self._home, _FOLDER)
            try:
                for name in ("state", "workspace", *names):
                    below = os.open(name, _FOLDER, dir_fd=descriptor)
                    os.close(descriptor)
                    descriptor = below
            except BaseException:
                os.close(descriptor)
                raise
        try:
            yield descriptor
        finally:
            os.close(descriptor)


def _entry(entry: os.DirEntry[str]) -> FileEntry:
    usable = is_plain(entry.name)
    kind, size, changed = FileKind.OTHER, 0, None
    with suppress(OSError):  # just deleted
        seen = entry.stat(follow_symlinks=False)
        size = seen.st_size
        if stat.S_ISREG(seen.st_mode):
            kind = FileKind.FILE
        elif stat.S_ISDIR(seen.st_mode):
            kind = FileKind.FOLDER
        with suppress(ValueError, OverflowError, OSError):  # beyond the calendar
            changed = datetime.fromtimestamp(seen.st_mtime, UTC)
    return FileEntry(
        name=entry.name if usable else shown(entry.name),
        kind=kind if usable else FileKind.OTHER,
        size=size if kind is FileKind.FILE else None,
        changed_at=changed,
    )


@contextmanager
def _problems() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise Problem(
                507, "disk-full", "The disk is full. Ask your agent to delete what it can."
            ) from error
        if error.errno in _NOT_THERE:
            raise Problem(
                404, "no-such-file", "This file or folder does not exist any more. Reload the list."
            ) from error
        raise Problem(
            409,
            "file-unusable",
            f"This file or folder cannot be used ({error.strerror}). Ask your agent to correct its "
            "permissions. Operator: check the disk with the agents' folders.",
        ) from error


def _not_a_file() -> Problem:
    return Problem(409, "not-a-file", "Something other than a plain file has this name.")
