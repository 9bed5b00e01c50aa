"""Opening names in a folder that another user may change, without following that user's links.

A name is opened with O_PATH first, which has no effect on any kind of file. All that follows is
done with that one descriptor, so it does not matter when the name is exchanged meanwhile.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MISSING = frozenset({errno.ENOENT, errno.ENAMETOOLONG})
"""No file has this name: by the second, none can."""
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_LINKS = 40
_FIRST_USER_GROUP = 1000


class Refused(Exception):
    """`str()` says what is wrong with one agent's files, or with a path."""


def shown(name: str) -> str:
    """A name that an agent chose, fit for the operator's terminal."""
    text = ascii(name)[1:-1]
    return text if len(text) <= 200 else f"{text[:100]}…{text[-99:]}"


@contextmanager
def looked_at(name: str, at: int) -> Iterator[int]:
    """The name itself, be it a link, as a descriptor that is good for `fstat` and `reopened`."""
    found = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
    try:
        yield found
    finally:
        os.close(found)


def reopened(found: int, flags: int) -> int:
    """A descriptor of `looked_at`, opened for use: the same file, whatever its name is now."""
    return os.open(f"/proc/self/fd/{found}", flags | os.O_NONBLOCK | os.O_CLOEXEC)


def opened_folder(name: str, at: int) -> int:
    """Raises `OSError` (ELOOP or ENOTDIR) for a link or anything else that is no folder."""
    return os.open(name, FOLDER, dir_fd=at)


def opened_file(name: str, at: int) -> int | None:
    """A regular file, for reading; None when there is none by that name."""
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
    """The real path of a folder of the servers, which no agent can have replaced.

    Each folder on the way belongs to root or to the owner of `folder`, and others may not write in
    it; each link on the way is root's; and it does not lie below the agents' folder. Raises
    `Refused`, or `OSError` when there is no such folder.
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
                raise Refused(f"{folder} lies below the agents' folder {place}, where agents write")
            here = place
            continue
        links += 1
        if seen.st_uid != 0:
            raise Refused(f"{place} is a link that is not root's")
        if links > _MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(folder))
        todo += place.readlink().parts[::-1]  # an absolute one begins with "/", which starts anew
    return here


def _require_own(place: Path, owner: int) -> None:
    seen = place.lstat()
    if not stat.S_ISDIR(seen.st_mode):
        raise Refused(f"{place} is not a folder")
    if seen.st_uid not in (0, owner):
        raise Refused(f"{place} is another user's; it must be root's or the server's own")
    others = seen.st_mode & stat.S_IWOTH or (
        seen.st_mode & stat.S_IWGRP and seen.st_gid >= _FIRST_USER_GROUP
    )
    if others and not seen.st_mode & stat.S_ISVTX:
        raise Refused(f"other users may write in {place}. chmod go-w {place}")
