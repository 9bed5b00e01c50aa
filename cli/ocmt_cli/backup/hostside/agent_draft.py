"""Recreates one agent's folder from an archive whose entries the agent chose.

The folder is created inside one that only root can enter. Every folder on an entry's path is opened
by descriptor and never through a link, symbolic links are created last, and every file gets the
agent's owner, not the one in the archive.
"""

import contextlib
import errno
import json
import os
import tarfile
import tempfile
from collections.abc import Iterator
from typing import IO

from ocmt_cli.backup.hostside import archive as stored
from ocmt_cli.backup.hostside.budget import MAX_DEPTH, MAX_ENTRIES, MAX_FILE_BYTES
from ocmt_cli.backup.hostside.extents import Extent
from ocmt_cli.backup.hostside.no_follow import NEW_FILE, Refused, opened_folder, shown

Owner = tuple[int, int]
"""User id and group id."""
_SET_ID = 0o6000
_NO_UID = 2**32 - 1
_BLOCK = 1 << 20
# The agent's folder and the server's own folders in it, which must not be links.
_FIRST_LINK_DEPTH = 2


def owner_of(seen: os.stat_result) -> Owner:
    return seen.st_uid, seen.st_gid


class AgentDraft:
    """An agent's folder while the entries of its archive are added one by one.

    Every method may raise `Refused` or `OSError`; the draft is then unusable.
    """

    def __init__(self, agent: str, drafts: int, *, home: Owner, state: Owner | None) -> None:
        """`home` is the owner of the agent's folder, `state` the owner of the agent's files.

        If `state` is `None`, the files get the owner that the archive has for the folder `state`,
        which no agent can change.
        """
        self._agent = agent
        self._drafts = drafts
        self._home = home
        self._state = state
        self._entries = 0
        self._folder: tuple[list[str], int] | None = None
        self._links: IO[str] | None = None

    def add(self, member: tarfile.TarInfo, archive: tarfile.TarFile) -> None:
        parts = member.name.split("/")
        if "\0" in member.name or any(part in ("", ".", "..") for part in parts):
            raise Refused(f"{shown(member.name)} is outside the agent's folder")
        if len(parts) - 1 > MAX_DEPTH:
            raise Refused(f"{shown(member.name)} is more than {MAX_DEPTH} folders deep")
        if member.mode & _SET_ID:
            raise Refused(f"{shown(member.name)} is set-user-ID or set-group-ID")
        self._count(1)
        if member.type == tarfile.DIRTYPE:
            self._add_folder(parts, member)
        elif member.type == tarfile.SYMTYPE:
            self._remember_link(parts, member.linkname)
        elif member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and member.sparse is None:
            self._add_file(parts, member, archive)
        else:
            raise Refused(f"{shown(member.name)} is neither a file, a folder nor a symbolic link")

    def finish(self) -> None:
        """Create the symbolic links. Call it once, after the last `add`."""
        if self._links is None:
            return
        self._links.seek(0)
        for line in self._links:
            parts, target = json.loads(line)
            at = self._above(parts)
            with self._once(parts):
                os.symlink(target, parts[-1], dir_fd=at)
            os.chown(parts[-1], *self._owner(parts), dir_fd=at, follow_symlinks=False)

    def close(self) -> None:
        if self._folder is not None:
            os.close(self._folder[1])
            self._folder = None
        if self._links is not None:
            self._links.close()

    def _count(self, entries: int) -> None:
        self._entries += entries
        if self._entries > MAX_ENTRIES:
            raise Refused(
                f"it has more than {MAX_ENTRIES:,} files, folders, links and holes in sparse files"
            )

    def _owner(self, parts: list[str]) -> Owner:
        if parts[1:2] == ["state"] and self._state is not None:
            return self._state
        return self._home

    def _above(self, parts: list[str]) -> int:
        """The descriptor of the entry's folder, kept open for the next entry. Raises `Refused`."""
        above = parts[:-1]
        if self._folder is not None:
            if self._folder[0] == above:
                return self._folder[1]
            os.close(self._folder[1])
            self._folder = None
        folder = os.dup(self._drafts)
        for part in above:
            try:
                below = opened_folder(part, folder)
            except FileNotFoundError as error:
                raise Refused(f"{_path(parts)} is in a missing folder") from error
            except OSError as error:
                if error.errno not in (errno.ELOOP, errno.ENOTDIR):
                    raise
                raise Refused(f"{_path(parts)} is below a link or a file") from error
            finally:
                os.close(folder)
            folder = below
        self._folder = (above, folder)
        return folder

    @contextlib.contextmanager
    def _once(self, parts: list[str]) -> Iterator[None]:
        try:
            yield
        except FileExistsError as error:
            raise Refused(f"{_path(parts)} occurs twice") from error

    def _add_folder(self, parts: list[str], member: tarfile.TarInfo) -> None:
        if parts[1:] == ["state"] and self._state is None:
            if not (0 <= member.uid < _NO_UID and 0 <= member.gid < _NO_UID):
                raise Refused("the owner of its state is not a user")
            self._state = (member.uid, member.gid)
        at = self._above(parts)
        with self._once(parts):
            os.mkdir(parts[-1], 0o700, dir_fd=at)
        folder = opened_folder(parts[-1], at)
        try:
            os.fchown(folder, *self._owner(parts))
            os.fchmod(folder, member.mode & stored.PERMISSIONS)
        finally:
            os.close(folder)

    def _remember_link(self, parts: list[str], target: str) -> None:
        if len(parts) - 1 < _FIRST_LINK_DEPTH or not target or "\0" in target:
            raise Refused(f"{_path(parts)} must not be a link")
        if self._links is None:
            self._links = tempfile.TemporaryFile("w+", encoding="ascii")  # noqa: SIM115 (`close`)
        self._links.write(json.dumps([parts, target]) + "\n")

    def _add_file(
        self, parts: list[str], member: tarfile.TarInfo, archive: tarfile.TarFile
    ) -> None:
        data = archive.extractfile(member)
        if data is None:
            raise Refused(f"{_path(parts)} has no content")
        size, extents = stored.extents_in(member, data)
        self._count(len(extents))
        if size > MAX_FILE_BYTES:
            raise Refused(f"{_path(parts)} appears larger than 16 TB")
        at = self._above(parts)
        with self._once(parts):
            file = os.open(parts[-1], NEW_FILE, 0o600, dir_fd=at)
        try:
            _write(data, file, size, extents)
            os.fchown(file, *self._owner(parts))
            os.fchmod(file, member.mode & stored.PERMISSIONS)
            mtime = max(0, min(int(member.mtime), 2**40))
            os.utime(file, (mtime, mtime))
        finally:
            os.close(file)


def _write(data: IO[bytes], file: int, size: int, extents: list[Extent]) -> None:
    os.ftruncate(file, size)
    for start, length in extents:
        offset, end = start, start + length
        while offset < end:
            block = data.read(min(_BLOCK, end - offset))
            if not block:
                raise Refused("its archive is truncated")
            written = memoryview(block)
            while written:
                count = os.pwrite(file, written, offset)
                offset += count
                written = written[count:]


def _path(parts: list[str]) -> str:
    return shown("/".join(parts))
