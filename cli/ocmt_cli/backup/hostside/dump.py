"""Writes a host's agents as archives to standard output, and reports what it left out."""

import gzip
import os
import re
import stat
import tarfile
import time
from pathlib import Path
from typing import IO, Any

from ocmt_cli.backup.hostside import archive as stored
from ocmt_cli.backup.hostside import frames
from ocmt_cli.backup.hostside.budget import MAX_FILE_BYTES, SETTLE_S, Budget, LeftOut
from ocmt_cli.backup.hostside.databases import (
    INDEX,
    MAGIC,
    Unsettled,
    copies_of_one_moment,
    siblings,
)
from ocmt_cli.backup.hostside.extents import extents_of
from ocmt_cli.backup.hostside.no_follow import (
    FOLDER,
    Refused,
    opened_file,
    own_folder,
    reopened,
)
from ocmt_cli.backup.hostside.walk import Entry, Level, walk

AGENT = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}|agent\.[0-9a-f]{16}")
"""The name of an agent's folder: a user's id, or its home (`ocmt_common.user_ids`)."""
RUNTIME = ".runtime"
"""The file beside the agents' folders that names their runtime."""
_COMPRESSION = 6


def dump_agents(folder: Path, data_bytes: int, out: IO[bytes]) -> None:
    """Send each agent of `folder` as an archive; an agent with over `data_bytes` bytes fails.

    Raises `Refused` or `OSError` if the folder itself cannot be trusted or read, and
    `BrokenPipeError`.
    """
    try:
        data = own_folder(folder.parent)
        agents = os.open(own_folder(folder), FOLDER)
    except FileNotFoundError:
        names = []  # no agents yet
    else:
        with os.scandir(agents) as found:
            names = sorted(one.name for one in found if AGENT.fullmatch(one.name))
    for agent in names:
        frames.send_json(out, frames.BEGIN, {"agent": agent})
        frames.send_json(out, frames.END, _sent(agent, agents, str(data), data_bytes, out))
    frames.send(out, frames.LAST)
    out.flush()


def _sent(agent: str, agents: int, working: str, data_bytes: int, out: IO[bytes]) -> dict[str, Any]:
    """Send one agent's archive. Returns why it failed (or `None`) and what was left out."""
    left_out = LeftOut()
    failed = None
    try:
        _refuse_too_much(agent, agents, data_bytes)
        with (
            frames.DataWriter(out) as data,
            gzip.GzipFile(fileobj=data, mode="wb", compresslevel=_COMPRESSION, mtime=0) as packed,
            stored.writing(packed) as archive,
        ):
            _Dump(
                archive,
                agent=agent,
                agents=agents,
                working=working,
                budget=Budget(data_bytes),
                left_out=left_out,
            ).run()
    except BrokenPipeError:
        raise
    except Refused as refused:
        failed = str(refused)
    except OSError as error:
        failed = f"its files cannot be read: {error.strerror}"
    except Exception as error:  # no agent may prevent the backup of the others
        failed = f"unexpected: {error!r}"
    return {"failed": failed, "leftOut": left_out.paths, "more": left_out.more}


def _refuse_too_much(agent: str, agents: int, data_bytes: int) -> None:
    """Raise `OverBudget` if the agent exceeds a limit, before any of its files is sent."""
    budget = Budget(data_bytes)
    for entry in walk(agent, agents, budget, LeftOut()):
        if stat.S_ISREG(entry.seen.st_mode):
            budget.take_bytes(min(entry.seen.st_size, entry.seen.st_blocks * 512))


class _Dump:
    """Writes one agent into an archive."""

    def __init__(
        self,
        archive: tarfile.TarFile,
        *,
        agent: str,
        agents: int,
        working: str,
        budget: Budget,
        left_out: LeftOut,
    ) -> None:
        self._archive = archive
        self._agent = agent
        self._agents = agents
        self._working = working
        self._budget = budget
        self._left_out = left_out
        self._settle_s = SETTLE_S
        self._owner = os.fstat(agents).st_uid

    def run(self) -> None:
        self._keep_runtime()
        for entry in walk(self._agent, self._agents, self._budget, self._left_out):
            try:
                self._add(entry)
            except FileNotFoundError:
                continue
            except OSError as error:
                if isinstance(error, BrokenPipeError):
                    raise
                self._left_out.add(entry.path, error.strerror or "it cannot be read")

    def _keep_runtime(self) -> None:
        file = opened_file(RUNTIME, self._agents)
        if file is None:
            return
        try:
            self._store(RUNTIME, os.fstat(file), file)
        finally:
            os.close(file)

    def _add(self, entry: Entry) -> None:
        kind = stat.S_IFMT(entry.seen.st_mode)
        path = f"{self._agent}/{entry.path}".rstrip("/")
        if kind == stat.S_IFDIR:
            if entry.path in ("", "state"):
                self._owner = entry.seen.st_uid
            made = stored.header(path, entry.seen)
            made.type = tarfile.DIRTYPE
            stored.add(self._archive, made)
        elif kind == stat.S_IFLNK:
            made = stored.header(path, entry.seen)
            made.type, made.linkname = tarfile.SYMTYPE, os.readlink("", dir_fd=entry.found)
            stored.add(self._archive, made)
        elif kind == stat.S_IFREG:
            self._add_file(path, entry)
        # Sockets, pipes and devices have no data to store.

    def _add_file(self, path: str, entry: Entry) -> None:
        file = reopened(entry.found, os.O_RDONLY)
        try:
            if os.pread(file, len(MAGIC), 0) == MAGIC:
                self._add_database(path, entry)
            else:
                self._store(path, os.fstat(file), file)
        finally:
            os.close(file)

    def _add_database(self, path: str, entry: Entry) -> None:
        started = time.monotonic()
        level: Level = entry.level
        beside = siblings(entry.name, level.names)
        try:
            with copies_of_one_moment(
                entry.name, entry.at, beside,
                working=self._working, budget=self._budget, until=started + self._settle_s,
            ) as copies:  # fmt: skip
                for copy in copies:
                    self._store(path + copy.name.removeprefix(entry.name), copy.seen, copy.file)
                level.done.update(copy.name for copy in copies)
        except Unsettled:
            level.done.update(beside)
            self._left_out.add(
                entry.path,
                "this database keeps changing. Pause the agent and try again",
            )
        finally:
            self._settle_s -= time.monotonic() - started
        # SQLite rebuilds the log's index from the log.
        level.done.add(entry.name + INDEX)

    def _store(self, path: str, seen: os.stat_result, file: int) -> None:
        shown = path.removeprefix(f"{self._agent}/")
        size = os.fstat(file).st_size
        if seen.st_nlink > 1 and seen.st_uid != self._owner:
            self._left_out.add(shown, "it is a hard link to a file of another owner")
            return
        if size > MAX_FILE_BYTES:
            self._left_out.add(shown, "it appears larger than 16 TB")
            return
        extents = extents_of(file, size, self._budget)
        self._budget.take_bytes(sum(length for _, length in extents))
        made = stored.header(path, seen)
        content = stored.content(made, file, size, extents)
        stored.add(self._archive, made, content)
        if content.failed:
            self._left_out.add(shown, f"a part was stored as zeros: {content.failed}")
