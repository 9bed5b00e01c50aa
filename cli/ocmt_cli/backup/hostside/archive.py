"""Stores an agent's files in a tar archive, and reads them back.

A sparse file is stored as a list of its extents, one "offset length" per line, followed by their
data; two PAX headers mark it. GNU's sparse format is not used, since versions of Python read it
differently.
"""

import gzip
import io
import os
import stat
import tarfile
from collections.abc import Iterator, Sequence
from typing import IO

from ocmt_cli.backup.hostside.extents import Extent, ExtentReader, total
from ocmt_cli.backup.hostside.no_follow import Refused

_SIZE, _LIST = "OCMT.size", "OCMT.extents"
_MAX_LIST_BYTES = 1 << 26
PERMISSIONS = 0o777
"""The stored bits of a mode: no set-user-ID, set-group-ID or sticky bit."""


def writing(target: gzip.GzipFile) -> tarfile.TarFile:
    return tarfile.open(
        fileobj=target, mode="w|", format=tarfile.PAX_FORMAT, encoding="utf-8",
        errors="surrogateescape",
    )  # fmt: skip


def reading(source: gzip.GzipFile) -> tarfile.TarFile:
    return tarfile.open(fileobj=source, mode="r|", encoding="utf-8", errors="surrogateescape")


def members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The archive's members in order, without keeping all in memory as tarfile's iterator does."""
    while (member := archive.next()) is not None:
        archive.members.clear()  # type: ignore[attr-defined]
        yield member


def add(
    archive: tarfile.TarFile, made: tarfile.TarInfo, content: ExtentReader | None = None
) -> None:
    """Add an entry. Raises `Refused` if the archive cannot be written, and `BrokenPipeError`."""
    try:
        archive.addfile(made, None if content is None else io.BufferedReader(content))
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Refused(f"its archive cannot be written: {error}") from error
    archive.members.clear()  # type: ignore[attr-defined]


def header(path: str, seen: os.stat_result) -> tarfile.TarInfo:
    made = tarfile.TarInfo(path)
    made.mode = stat.S_IMODE(seen.st_mode) & PERMISSIONS
    made.mtime = int(seen.st_mtime)
    made.uid, made.gid = seen.st_uid, seen.st_gid
    return made


def content(made: tarfile.TarInfo, file: int, size: int, extents: Sequence[Extent]) -> ExtentReader:
    """A reader of the bytes to store for a file of `size` bytes. Completes its header `made`."""
    stored = total(extents)
    if stored == size:
        made.size = size
        return ExtentReader(file, extents)
    lines = "".join(f"{offset} {length}\n" for offset, length in extents).encode()
    made.pax_headers = {_SIZE: str(size), _LIST: str(len(lines))}
    made.size = len(lines) + stored
    return ExtentReader(file, extents, before=lines)


def extents_in(member: tarfile.TarInfo, data: IO[bytes]) -> tuple[int, list[Extent]]:
    """Read a stored file's size and extents, which precede its contents. Raises `Refused`."""
    if _SIZE not in member.pax_headers:
        return member.size, [(0, member.size)]
    try:
        size, length = int(member.pax_headers[_SIZE]), int(member.pax_headers[_LIST])
        if not 0 <= length <= min(member.size, _MAX_LIST_BYTES):
            raise ValueError(length)
        extents: list[Extent] = []
        end = 0
        for line in data.read(length).splitlines():
            offset, count = map(int, line.split())
            if offset < end or count <= 0 or offset + count > size:
                raise ValueError(line)
            extents.append((offset, count))
            end = offset + count
    except (KeyError, ValueError) as error:
        raise Refused("its list of extents is damaged") from error
    if total(extents) != member.size - length:
        raise Refused("its list of extents is damaged")
    return size, extents
