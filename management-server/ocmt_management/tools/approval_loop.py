"""Runs, expires, mails and delivers approvals when they are due, and recovers after a crash.

Each approval stores when it needs attention next, so one query finds those that are due, including
those of a crashed process. Agents that wait for a connection are told here, too.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog
from ocmt_common.problems import Problem

from ocmt_management.tools.approval_mail import ApprovalMail
from ocmt_management.tools.approval_repository import ApprovalRepository, Due
from ocmt_management.tools.approval_runner import ApprovalRunner
from ocmt_management.tools.approval_states import ApprovalState, Delivery
from ocmt_management.tools.approval_store import ApprovalStore
from ocmt_management.tools.approvals import Approvals
from ocmt_management.tools.connection_requests import ConnectionRequests
from ocmt_management.tools.message_delivery import MessageDelivery

log = structlog.get_logger(__name__)

_EVERY_S = 0.5
_AT_ONCE = 200


class ApprovalLoop:
    """Handles due approvals. Enter `running` for the server's lifetime."""

    def __init__(
        self,
        store: ApprovalStore,
        approvals: Approvals,
        *,
        runner: ApprovalRunner,
        delivery: MessageDelivery,
        mail: ApprovalMail,
        connection_requests: ConnectionRequests,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._approvals = approvals
        self._runner = runner
        self._delivery = delivery
        self._mail = mail
        self._connection_requests = connection_requests
        self._sleep = sleep

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await self._runner.close()
            await self._approvals.close()
            await self._delivery.close()

    async def attend(self) -> None:
        """Handle the approvals that are due, at most `_AT_ONCE`.

        Raises `Problem` if they cannot be read; logs a `Problem` with one of them.
        """
        await self._approvals.forget_answered()
        async with self._store.database.read() as session:
            due = await ApprovalRepository(session).due(self._store.clock(), limit=_AT_ONCE)
        for one in due:
            try:
                await self._attend_to(one)
            except Problem as problem:
                log.warning("approval not attended to", approval=one.id, reason=problem.detail)
        for user_id in await self._connection_requests.due():
            self._delivery.start(user_id)

    async def _attend_to(self, one: Due) -> None:
        if one.state is ApprovalState.WAITING and one.expires_at <= self._store.clock():
            await self._approvals.expire(one.user_id, one.id)
        elif one.state is ApprovalState.WAITING:
            await self._mail.remind(one.user_id)
        elif one.state is ApprovalState.APPROVED:
            self._runner.start(one.user_id, one.id)
        elif one.state is ApprovalState.RUNNING:
            await self._runner.lose(one.user_id, one.id)
        elif one.delivery is Delivery.HELD:
            await self._approvals.release_held(one.user_id, one.id)
        else:
            self._delivery.start(one.user_id)

    async def _run(self) -> None:
        while True:
            try:
                await self.attend()
            except Problem as problem:  # the database is away; /health reports it
                log.warning("approvals not attended to", reason=problem.detail)
            except Exception:
                log.exception("approvals not attended to")
            await self._sleep(_EVERY_S)
