"""Keeps the working sets of sleeping agents across restarts of this server, in a file per agent.

A file has only addresses, valid for the processes in which they were seen; after a reboot or a
restart of the gateway it is ignored.
"""

import contextlib
import json
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog
from ocmt_common.atomic_files import replacing_file

from ocmt_agent.memory.page_sets import Pages
from ocmt_agent.memory.ranges import PackedRanges
from ocmt_agent.memory.working_set import WorkingSet
from ocmt_agent.runtime.processes import ProcessId

log = structlog.get_logger(__name__)

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_FAST = 1


@dataclass(frozen=True, slots=True)
class Learned:
    leader: ProcessId
    working_set: WorkingSet
    laid_out: WorkingSet | None
    """The working set as laid out in swap; `None` if it was not."""
    held: Pages
    """All the agent's pages when it was paused."""
    wakes: int


class _NotWanted(Exception):
    """Raised to remove the draft of a working set that was forgotten meanwhile."""


class WorkingSetStore:
    """A file of about 100 KB per agent. Calls block for a few milliseconds."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._placing = threading.Lock()

    def save(self, user_id: str, learned: Learned, *, wanted: Callable[[], bool]) -> None:
        """Replace the agent's file atomically. Errors are only logged: the file is an optimisation.

        `wanted` is called right before the file is replaced; if it returns false, nothing is
        stored. It has to be false before `forget` is called; then a concurrent `forget` wins.
        """
        file = self._folder / user_id
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with contextlib.ExitStack() as stack:
                draft = stack.enter_context(replacing_file(file, durable=False))
                draft.write(zlib.compress(_encoded(learned), _FAST))
                draft.flush()
                with self._placing:  # not while writing: `forget` runs on the event loop
                    if not wanted():
                        raise _NotWanted
                    stack.close()
        except _NotWanted:
            return
        except OSError as error:
            log.warning("an agent's working set is not stored", user_id=user_id, reason=error)

    def load(self, user_id: str, leader: ProcessId) -> Learned | None:
        """What was stored for the gateway whose first process is `leader`; `None` if nothing."""
        try:
            data = zlib.decompress((self._folder / user_id).read_bytes())
            return _decoded(data, leader)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, zlib.error) as error:
            log.info("an agent's working set is unreadable", user_id=user_id, reason=str(error))
            return None

    def forget(self, user_id: str) -> None:
        with self._placing, contextlib.suppress(OSError):
            (self._folder / user_id).unlink()


def _encoded(learned: Learned) -> bytes:
    """A line of JSON, followed by the packed ranges that it describes."""
    sets = [learned.working_set.first, learned.working_set.then, learned.held]
    if learned.laid_out is not None:
        sets += [learned.laid_out.first, learned.laid_out.then]
    shape: list[list[list[int]]] = []
    parts: list[bytes] = []
    for pages in sets:
        packed = {process: bytes(PackedRanges(ranges)) for process, ranges in pages.items()}
        shape.append([[p.pid, p.started_ticks, len(ranges)] for p, ranges in packed.items()])
        parts += packed.values()
    head = {
        "boot": _boot(),
        "leader": [learned.leader.pid, learned.leader.started_ticks],
        "wakes": learned.wakes,
        "sets": shape,
    }
    return b"\n".join((json.dumps(head).encode(), b"".join(parts)))


def _decoded(data: bytes, leader: ProcessId) -> Learned | None:
    line, _, rest = data.partition(b"\n")
    head = json.loads(line)
    if head["boot"] != _boot() or ProcessId(*head["leader"]) != leader:
        return None
    sets: list[Pages] = []
    at = 0
    for shape in head["sets"]:
        pages = {}
        for pid, started_ticks, size in shape:
            pages[ProcessId(pid, started_ticks)] = PackedRanges.of(rest[at : at + size])
            at += size
        sets.append(pages)
    if at != len(rest):
        raise ValueError("the file is incomplete")
    first, then, held, *laid_out = sets
    return Learned(
        leader,
        WorkingSet(first, then),
        WorkingSet(*laid_out) if laid_out else None,
        held,
        head["wakes"],
    )


def _boot() -> str:
    return _BOOT_ID.read_text(encoding="ascii").strip()
