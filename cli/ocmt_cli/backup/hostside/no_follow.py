"""Opens names in a folder that another user may change, without following that user's links.

A name is first opened with O_PATH, which has no side effects for any type of file. All later steps
use this descriptor, so replacing the name meanwhile has no effect.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MISSING = frozenset({errno.ENOENT, errno.ENAMETOOLONG})
"""Error numbers for a name that does not exist or cannot exist."""
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_LINKS = 40
_FIRST_USER_GROUP = 1000


class Refused(Exception):
    """An agent's files or a path cannot be used. `str()` is the reason."""


def shown(name: str) -> str:
    """A name that an agent chose, escaped and shortened for the operator's terminal."""
    text = ascii(name)[1:-1]
    return text if len(text) <= 200 else f"{text[:100]}…{text[-99:]}"


@contextmanager
def looked_at(name: str, at: int) -> Iterator[int]:
    """An O_PATH descriptor of `name` itself, even if it is a link, for `fstat` and `reopened`."""
    found = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
    try:
        yield found
    finally:
        os.close(found)


def reopened(found: int, flags: int) -> int:
    """Open the file of a `looked_at` descriptor, whatever its name is now."""
    return os.open(f"/proc/self/fd/{found}", flags | os.O_NONBLOCK | os.O_CLOEXEC)


def opened_folder(name: str, at: int) -> int:
    """A folder's descriptor. Raises `OSError` (ELOOP or ENOTDIR) for a link or another type."""
    return os.open(name, FOLDER, dir_fd=at)


def opened_file(name: str, at: int) -> int | None:
    """A regular file's descriptor, for reading; `None` if there is no such file."""
    try:
        with looked_at(name, at) as found:
            if not stat.S_ISREG(os.fstat(found).st_mode):
                return None
            return reopened(found, os.O_RDONLY)
    except OSError as error:
        if error.errno not in MISSING:
            raise
        return None


def own_folder(folder: Path) -> Path:
    """Resolve the path of a folder of the servers, which no agent may have replaced.

    Each folder on the path must belong to root or to the owner of `folder` and not be writable by
    others; each link on the path must be root's; and `folder` must not be below the agents' folder.
    Raises `Refused`, or `OSError` when the folder does not exist.
    """
    owner = folder.stat().st_uid
    here, links = Path("/"), 0
    _require_own(here, owner)
    todo = list(folder.parts[::-1])
    while todo:
        name = todo.pop()
        place = here.parent if name == ".." else here / name
        seen = place.lstat()
        if not stat.S_ISLNK(seen.st_mode):
            _require_own(place, owner)
            if name == "agents" and todo and (here / "agent.db").exists():
                raise Refused(
                    f"{folder} is below the agents' folder {place}, where agents can write"
                )
            here = place
            continue
        links += 1
        if seen.st_uid != 0:
            raise Refused(f"{place} is a link that does not belong to root")
        if links > _MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(folder))
        todo += place.readlink().parts[
            ::-1
        ]  # an absolute target begins with "/", which restarts at the root
    return here


def _require_own(place: Path, owner: int) -> None:
    seen = place.lstat()
    if not stat.S_ISDIR(seen.st_mode):
        raise Refused(f"{place} is not a folder")
    if seen.st_uid not in (0, owner):
        raise Refused(
            f"{place} belongs to another user; it must belong to root or the server's user"
        )
    others = seen.st_mode & stat.S_IWOTH or (
        seen.st_mode & stat.S_IWGRP and seen.st_gid >= _FIRST_USER_GROUP
    )
    if others and not seen.st_mode & stat.S_ISVTX:
        raise Refused(f"other users may write to {place}. Run: chmod go-w {place}")
