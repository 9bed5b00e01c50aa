"""Runs approved calls, each at most once.

A call begins once a conditional UPDATE to `running` is committed, which only one process can do.
That process extends a lease while the call runs. If the process dies, the lease expires and the
call is marked uncertain: it may have reached its server.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from functools import partial
from typing import Protocol
from uuid import uuid4

import structlog
from ocmt_common.problems import Problem

from ocmt_management.tools.approval_repository import ApprovalRepository
from ocmt_management.tools.approval_results import is_error, storable
from ocmt_management.tools.approval_states import ApprovalState, Delivery, Event
from ocmt_management.tools.approval_store import ApprovalStore
from ocmt_management.tools.calls import ToolCall

log = structlog.get_logger(__name__)

LEASE = timedelta(seconds=20)
_RETRY_S = 1.0
_CLOSE_WITHIN_S = 10


class Calls(Protocol):
    async def run(self, call: ToolCall) -> bytes:
        """Run one call with the user's credential; returns a `CallToolResult` as JSON."""
        ...


class ApprovalRunner:
    """Runs approved calls in background tasks. `close` it at the end."""

    def __init__(
        self,
        store: ApprovalStore,
        calls: Calls,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._calls = calls
        self._sleep = sleep
        self._process = str(uuid4())
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, user_id: str, approval_id: str) -> None:
        """Start an approved call in the background, unless this process is running it."""
        if approval_id in self._tasks:
            return
        task = self._tasks[approval_id] = asyncio.create_task(self._run(user_id, approval_id))
        task.add_done_callback(partial(self._ended, approval_id))

    async def lose(self, user_id: str, approval_id: str) -> None:
        """Mark a call whose lease has expired as uncertain, unless this process is running it."""
        if approval_id in self._tasks:
            return
        await self._lose(user_id, approval_id, lapsed=True)

    async def idle(self) -> None:
        """Wait until this process is running no call."""
        while self._tasks:
            await asyncio.wait(self._tasks.values())

    async def close(self) -> None:
        """Wait a moment for running calls, then cancel the rest, which become uncertain."""
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks.values(), timeout=_CLOSE_WITHIN_S)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    def _ended(self, approval_id: str, task: asyncio.Task[None]) -> None:
        del self._tasks[approval_id]
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, Problem):  # tried again when the approval is next due
            log.warning("approved call not run", approval=approval_id, reason=error.detail)
        elif error is not None:
            log.error("approved call failed", approval=approval_id, exc_info=error)

    async def _run(self, user_id: str, approval_id: str) -> None:
        call = await self._begin(user_id, approval_id)
        if call is None:
            return
        try:
            async with self._leased(user_id, approval_id):
                result = await self._calls.run(call)
        except BaseException:
            # The call may have been sent. If this fails, too, the lease expires.
            with suppress(Problem):
                await self._lose(user_id, approval_id)
            raise
        await self._finish(user_id, approval_id, storable(result))

    async def _begin(self, user_id: str, approval_id: str) -> ToolCall | None:
        """Move an approved call to `running`; `None` if it must not run."""
        async with self._store.changing(user_id) as mine:
            row = await mine.get(approval_id)
            if row is None or row.state != ApprovalState.APPROVED:
                return None
            if not await mine.still_as_asked(row):
                return None
            arguments = await mine.arguments(row)
            until = mine.now + LEASE
            if arguments is None or not await mine.rows.move(
                row, Event.BEGIN, run_by=self._process, lease_until=until
            ):
                return None
            return ToolCall(
                user_id=user_id,
                server_id=row.server_id,
                tool=row.tool,
                arguments=arguments,
                pin=row.pin,
            )

    async def _lose(self, user_id: str, approval_id: str, *, lapsed: bool = False) -> None:
        async with self._store.changing(user_id) as mine:
            row = await mine.get(approval_id)
            if row is None or row.lease_until is None or (lapsed and row.lease_until > mine.now):
                return
            await mine.rows.move(row, Event.LOSE, finished_at=mine.now)

    async def _finish(self, user_id: str, approval_id: str, result: bytes) -> None:
        """Store the result; retry while the database is unreachable."""
        while True:
            try:
                async with self._store.changing(user_id) as mine:
                    row = await mine.get(approval_id)
                    if row is None:
                        return
                    told = row.delivery == Delivery.DONE  # that it is uncertain
                    await mine.rows.move(
                        row,
                        Event.FAIL if is_error(result) else Event.SUCCEED,
                        result=await mine.seal(approval_id, "result", result),
                        finished_at=mine.now,
                        delivery=Delivery.DUE if told else row.delivery,
                        deliver_at=mine.now,
                        sends=0,
                    )
                    return
            except Problem as problem:
                log.warning("result of an approved call not stored", reason=problem.detail)
            await self._sleep(_RETRY_S)

    @asynccontextmanager
    async def _leased(self, user_id: str, approval_id: str) -> AsyncIterator[None]:
        async def extend() -> None:
            while True:
                await self._sleep(LEASE.total_seconds() / 4)
                until = self._store.clock() + LEASE
                with suppress(Problem):
                    async with self._store.database.write() as session:
                        await ApprovalRepository(session).extend_lease(
                            user_id, approval_id, self._process, until
                        )

        extending = asyncio.create_task(extend())
        try:
            yield
        finally:
            extending.cancel()
            await asyncio.gather(extending, return_exceptions=True)
