"""Unpacks agents' archives from standard input into a folder that replaces the agents' folder.

If an archive is bad, only its agent fails (`agent_draft`); the others are restored.
"""

import contextlib
import errno
import gzip
import json
import os
import shutil
import stat
import tarfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ocmt_cli.backup.hostside import archive as stored
from ocmt_cli.backup.hostside import frames
from ocmt_cli.backup.hostside.agent_draft import AgentDraft, owner_of
from ocmt_cli.backup.hostside.dump import AGENT, RUNTIME
from ocmt_cli.backup.hostside.no_follow import (
    FOLDER,
    NEW_FILE,
    Refused,
    opened_file,
    opened_folder,
    own_folder,
    shown,
)

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_AGENTS_MODE = 0o711  # like the agent server's: agents may traverse it but not list it
_RUNTIMES = (b"docker", b"process")
_RUNTIME_BYTES = 16
_SPOILED = (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error)
_BLOCK = 1 << 20


def restore_agents(folder: Path, source: IO[bytes], out: IO[str]) -> None:
    """Replace the agents' folder `folder` with the archives, and keep the old one beside it.

    Writes the old folder's new path and the refused agents with reasons to `out`, as JSON. If it
    raises `Refused`, `OSError` or `BadFrame`, nothing has changed.
    """
    name = folder.name
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    above = os.open(own_folder(folder.parent), FOLDER)
    draft_name = f".{name}.restore"
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(draft_name, dir_fd=above)
    os.mkdir(draft_name, 0o700, dir_fd=above)
    try:
        draft = opened_folder(draft_name, above)
        there = None
        with contextlib.suppress(FileNotFoundError):
            there = os.open(own_folder(folder), FOLDER)
        refused = _Restore(draft, there, above).all(source)
        aside = None if there is None else f"{name}.before-restore-{time.time_ns() // 1_000_000}"
        if there is not None:
            _like(there, draft)
        else:
            os.fchmod(draft, _AGENTS_MODE)
        _replace(name, draft_name, aside, above)
    except BaseException:
        shutil.rmtree(draft_name, ignore_errors=True, dir_fd=above)
        raise
    json.dump({"aside": aside and str(folder.with_name(aside)), "refused": refused}, out)


def _replace(name: str, draft: str, aside: str | None, above: int) -> None:
    if aside is not None:
        os.rename(name, aside, src_dir_fd=above, dst_dir_fd=above)
    try:
        os.rename(draft, name, src_dir_fd=above, dst_dir_fd=above)
    except OSError:
        if aside is not None:
            os.rename(aside, name, src_dir_fd=above, dst_dir_fd=above)
        raise


def _like(there: int, draft: int) -> None:
    seen = os.fstat(there)
    os.fchown(draft, seen.st_uid, seen.st_gid)
    os.fchmod(draft, stat.S_IMODE(seen.st_mode) & stored.PERMISSIONS)


class _Restore:
    def __init__(self, draft: int, there: int | None, above: int) -> None:
        self._draft = draft
        self._there = there
        self._server = owner_of(os.fstat(above))
        os.fchown(draft, *self._server)
        self._refused: dict[str, str] = {}

    def all(self, source: IO[bytes]) -> list[tuple[str, str]]:
        """Restore all agents from `source`. Returns `(agent, reason)` of each refused one."""
        incoming = frames.received(source)
        for kind, payload in incoming:
            if kind != frames.BEGIN:
                raise frames.BadFrame("an archive's beginning is missing")
            expected = json.loads(payload)["agent"]
            reader = frames.DataReader(incoming)
            self._archive(expected, reader)
            while reader.read(_BLOCK):
                pass  # the rest of a damaged archive
        return sorted(self._refused.items())

    def _archive(self, expected: str | None, source: frames.DataReader) -> None:
        """Unpack the archive of the agent `expected`; `None`: format 1's archive of all agents."""
        drafts: dict[str, AgentDraft] = {}
        try:
            with (
                gzip.GzipFile(fileobj=source, mode="rb") as packed,
                stored.reading(packed) as archive,
            ):
                for member in stored.members(archive):
                    top = member.name.partition("/")[0]
                    if top == RUNTIME:
                        self._keep_runtime(archive, member)
                    elif top != "." and (expected or top) not in self._refused:
                        with self._refusing(expected or top):
                            draft = drafts.get(top) or self._new_draft(top, expected)
                            drafts[top] = draft
                            draft.add(member, archive)
                while packed.read(_BLOCK):
                    pass  # read to the end, where the checksum is
            for agent, draft in drafts.items():
                if agent not in self._refused:
                    with self._refusing(agent):
                        draft.finish()
        except _SPOILED as error:
            if expected is None:
                raise Refused(f"the agents' archive is damaged: {error}") from error
            self._refused[expected] = f"its archive is damaged: {error}"
        finally:
            for draft in drafts.values():
                draft.close()
        for agent in drafts.keys() & self._refused.keys():
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(agent, dir_fd=self._draft)

    @contextlib.contextmanager
    def _refusing(self, agent: str) -> Iterator[None]:
        try:
            yield
        except (*_SPOILED, frames.BadFrame):
            raise
        except Refused as refused:
            self._refused[shown(agent)] = str(refused)
        except OSError as error:
            if error.errno in _FULL:
                raise
            self._refused[shown(agent)] = f"its files cannot be written: {error.strerror}"
        except Exception as error:  # no archive may prevent the restore of the others
            self._refused[shown(agent)] = f"unexpected: {error!r}"

    def _new_draft(self, agent: str, expected: str | None) -> AgentDraft:
        if not AGENT.fullmatch(agent) or expected not in (None, agent):
            raise Refused(f"{shown(agent)} is not this agent's folder")
        home, state = self._server, None
        with contextlib.suppress(OSError):
            if self._there is not None:
                folder = opened_folder(agent, self._there)
                try:
                    home = owner_of(os.fstat(folder))
                    state = owner_of(os.stat("state", dir_fd=folder, follow_symlinks=False))
                finally:
                    os.close(folder)
        return AgentDraft(agent, self._draft, home=home, state=state)

    def _keep_runtime(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        """Restore the file that names the agents' runtime, but prefer the host's own."""
        data = archive.extractfile(member) if member.type == tarfile.REGTYPE else None
        said = data.read(_RUNTIME_BYTES) if data is not None else b""
        there = None if self._there is None else opened_file(RUNTIME, self._there)
        if there is not None:
            said = os.read(there, _RUNTIME_BYTES)
            os.close(there)
        if said.strip() in _RUNTIMES:
            with contextlib.suppress(FileExistsError):
                file = os.open(RUNTIME, NEW_FILE, 0o600, dir_fd=self._draft)
                os.fchown(file, *self._server)
                os.write(file, said)
                os.close(file)
