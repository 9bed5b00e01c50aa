"""Every few seconds, writes the records that are held in memory.

So no request waits for a write.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog
from ocmt_common.problems import Problem

log = structlog.get_logger(__name__)

_RETRY_S = 10.0


class PeriodicWriter:
    """Calls `write` at most every `every_s` seconds while something is due, and on shutdown.

    `write` raises a `Problem` when the database is away. If it raises, it must keep its records and
    call `due`, or they are not written again. `what` names the records in the log.
    """

    def __init__(self, write: Callable[[], Awaitable[None]], *, every_s: float, what: str) -> None:
        self._write = write
        self._every_s = every_s
        self._what = what
        self._due = asyncio.Event()

    def due(self) -> None:
        """Schedule a write, since there is something to write."""
        self._due.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._keep_writing())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            try:
                await self._write()
            except Problem as problem:
                log.error("records lost at shutdown", what=self._what, reason=problem.detail)

    async def _keep_writing(self) -> None:
        while True:
            await self._due.wait()
            try:
                await asyncio.sleep(self._every_s)
                self._due.clear()
                await self._write()
            except Problem as problem:
                log.warning("records not written yet", what=self._what, reason=problem.detail)
                await asyncio.sleep(_RETRY_S)
            except Exception:
                # A bug must not stop the recording for good.
                log.exception("records not written", what=self._what)
                await asyncio.sleep(_RETRY_S)
