"""Copies of agents' states on disk. A copy with its final name is complete.

An agent chooses every name, link and mode in its state. So it does not run during a copy, and the
programs used follow no links. The copies are in a folder that only this server can enter. They
belong to this server, so that they do not count toward the agent's quota, and have no set-user-ID
bits.
"""

import asyncio
import contextlib
import os
import re
import stat
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

from ocmt_common.atomic_files import sync_folder
from ocmt_common.openclaw.versions import parse_version

from ocmt_agent.decisions.state_copies import StateCopy
from ocmt_agent.runtime.base import RuntimeFailed
from ocmt_agent.runtime.removal import remove_folder

_FOLDER = ".state-copies"
"""The copies' folder, beside the agents' folders. No user id begins with a dot."""
_TIME = "%Y%m%dT%H%M%S.%fZ"
_UNFINISHED = ".unfinished-"
"""Prefix of a copy that is being made or removed; after a crash, the next `clear` removes it."""
_READ_BYTES = 1 << 16
_REASON = re.compile(r": ([A-Za-z ]+)$", re.MULTILINE)


class CopyFailed(Exception):
    """Copying failed. `str()` says why, without names that the agent chose."""


class StateCopies:
    def __init__(self, agents: Path) -> None:
        self._root = agents / _FOLDER

    def users(self) -> list[str]:
        with contextlib.suppress(FileNotFoundError):
            return sorted(folder.name for folder in self._root.iterdir())
        return []

    def of(self, user_id: str) -> list[StateCopy]:
        found = []
        with contextlib.suppress(FileNotFoundError):
            for folder in (self._root / user_id).iterdir():
                version, _, taken_at = folder.name.rpartition("_")
                with contextlib.suppress(ValueError):
                    at = datetime.strptime(taken_at, _TIME).replace(tzinfo=UTC)
                    if parse_version(version) is not None:
                        found.append(StateCopy(version, at, folder))
        return found

    async def take(self, state: Path, user_id: str, *, version: str, at: datetime) -> StateCopy:
        """Copy a state that is not in use. If that fails, raise `CopyFailed` and leave no copy."""
        folder = await asyncio.to_thread(self._folder_of, user_id)
        draft = folder / f"{_UNFINISHED}{uuid.uuid4().hex}"
        try:
            # The service may not set these bits (RestrictSUIDSGID), so remove them from folders; cp
            # drops those of files. An agent has one group, so they have no effect for it.
            await _run(
                *("find", str(state), "-xdev", "-type", "d", "-perm", "/6000"),
                *("-exec", "chmod", "ug-s", "--", "{}", "+"),
            )
            await _run(
                *("cp", "-R", "-P", "--preserve=timestamps,links", "--reflink=auto"),
                *("--one-file-system", "--no-target-directory", "--", str(state), str(draft)),
            )
            await _run("sync", "--file-system", "--", str(draft))
            copy = _new(folder, version, at)
            await asyncio.to_thread(_rename, draft, copy.folder)
        except OSError as error:
            await self._undo(draft)
            raise CopyFailed(error.strerror or "unknown") from error
        except BaseException:
            await self._undo(draft)
            raise
        return copy

    async def _undo(self, draft: Path) -> None:
        with contextlib.suppress(RuntimeFailed):  # then `clear` does it
            await asyncio.shield(asyncio.to_thread(remove_folder, draft))

    def set_aside(self, state: Path, user_id: str, *, version: str, at: datetime) -> StateCopy:
        """Make the state itself a copy, by renaming it. Raises `OSError` or `CopyFailed`."""
        folder = self._folder_of(user_id)
        copy = _new(folder, version, at)
        _rename(state, copy.folder)
        return copy

    def put_back(self, copy: StateCopy, state: Path) -> None:
        """Rename a copy to `state`, which must not exist. Raises `OSError`."""
        _rename(copy.folder, state)

    async def make_own(self, state: Path) -> None:
        """As root, make root the owner of a state's files. Raises `OSError` or `CopyFailed`.

        The agent's uid owns them again when its container is created.
        """
        if os.geteuid() == 0:
            await _run("chown", "-R", "-h", "-P", "--", "0:0", str(state))

    def drop(self, copy: StateCopy) -> None:
        """Remove a copy; it is renamed first, so that a partial one is never used.

        Raises `RuntimeFailed` or `OSError`.
        """
        doomed = copy.folder.with_name(f"{_UNFINISHED}{uuid.uuid4().hex}")
        with contextlib.suppress(FileNotFoundError):
            copy.folder.rename(doomed)
            remove_folder(doomed)

    def drop_all(self, user_id: str) -> None:
        """Remove all copies of a user's state. Raises `RuntimeFailed`."""
        remove_folder(self._root / user_id)

    def clear(self, user_id: str) -> None:
        """Remove unfinished copies, and the user's folder of copies if it is then empty.

        Raises `RuntimeFailed`.
        """
        folder = self._root / user_id
        with contextlib.suppress(FileNotFoundError):
            for left in folder.iterdir():
                if left.name.startswith(_UNFINISHED):
                    remove_folder(left)
            with contextlib.suppress(OSError):
                folder.rmdir()

    def _folder_of(self, user_id: str) -> Path:
        """The user's folder of copies, created if missing. Raises `CopyFailed`."""
        folder = self._root / user_id
        try:
            for each in (self._root, folder):
                each.mkdir(mode=0o700, exist_ok=True)
                each.chmod(0o700)
        except OSError as error:
            raise CopyFailed(error.strerror or "unknown") from error
        return folder


def _new(folder: Path, version: str, at: datetime) -> StateCopy:
    """A copy in a folder that does not exist yet, even if the clock was set back."""
    while True:
        copy = StateCopy(version, at, folder / f"{version}_{at.astimezone(UTC):{_TIME}}")
        if not copy.folder.exists():
            return copy
        at += timedelta(microseconds=1)


def is_folder(path: Path) -> bool:
    """Whether `path` is a folder, and not a link to one."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except FileNotFoundError:
        return False


def holds_anything(folder: Path) -> bool:
    """Whether `folder` exists and is not empty."""
    if not is_folder(folder):
        return False
    with os.scandir(folder) as entries:
        return next(entries, None) is not None


def _rename(source: Path, target: Path) -> None:
    """Rename durably, so that a power cut does not undo it."""
    source.rename(target)
    for parent in {source.parent, target.parent}:
        sync_folder(parent)


async def _run(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, "LC_ALL": "C"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        umask=0,
    )
    errors = cast("asyncio.StreamReader", process.stderr)
    try:
        said = b""
        while more := await errors.read(_READ_BYTES):  # a line for each of an agent's files
            said = (said + more)[-_READ_BYTES:]
        code = await process.wait()
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if code != 0:
        found = _REASON.search(said.decode(errors="replace"))
        raise CopyFailed(found[1] if found else f"{command[0]} exited with code {code}")
