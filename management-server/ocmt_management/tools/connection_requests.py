"""What agents wait for that their people have to connect, and the message once it is connected.

An agent that lacks an account or a tool server gives its user a link, and its request is stored.
Whatever connects it later marks the request in the same transaction; `MessageDelivery` then sends
the agent a message, as for the outcome of an approval.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from uuid import uuid4

from sqlalchemy.ext.asyncio import AsyncSession

from ocmt_management.auth.service import is_active, lock_user
from ocmt_management.clock import Clock
from ocmt_management.db import Database
from ocmt_management.tools.approval_schemas import OUTCOME_KEY_PREFIX
from ocmt_management.tools.connection_request_repository import ConnectionRequestRepository
from ocmt_management.tools.message_delivery import AgentMessage, retry_after
from ocmt_management.tools.models import CONNECTED_CHARACTERS, ConnectionRequest, Wanted

WAITS = timedelta(hours=24)
MAX_WAITING = 20
"""Of one user; the oldest is dropped for a new one."""
_KEPT_FOR = timedelta(days=7)
_AT_ONCE = 200


class ConnectionRequests:
    """`tools_sent` waits until agents have the tools of what was connected."""

    def __init__(
        self, database: Database, clock: Clock, *, tools_sent: Callable[[], Awaitable[None]]
    ) -> None:
        self._database = database
        self._clock = clock
        self._tools_sent = tools_sent

    async def add(self, user_id: str, kind: Wanted, wanted: str) -> str:
        """Wait for this to be connected. Returns the mark for the result that the agent gets.

        A request that is the same and still waits is kept, so both conversations have its mark.
        """
        async with self._database.write() as session:
            await lock_user(session, user_id)
            rows, now = ConnectionRequestRepository(session), self._clock()
            waiting = await rows.waiting(user_id, now)
            same = next((r for r in waiting if (r.kind, r.wanted) == (kind, wanted)), None)
            if same is not None:
                same.expires_at = now + WAITS
                return mark_of(same.id)
            for old in waiting[: max(0, len(waiting) - MAX_WAITING + 1)]:
                await rows.delete(user_id, old.id)
            row = ConnectionRequest(
                id=str(uuid4()), user_id=user_id, kind=kind, wanted=wanted, sends=0,
                expires_at=now + WAITS,
            )  # fmt: skip
            rows.add(row)
            return mark_of(row.id)

    async def due(self) -> Sequence[str]:
        """The active users whose agents have to be told something now, at most `_AT_ONCE`."""
        async with self._database.read() as session:
            return await ConnectionRequestRepository(session).due(self._clock(), limit=_AT_ONCE)

    async def take(self, user_id: str) -> list[AgentMessage]:
        """The messages to send now. Also schedules the next attempt."""
        async with self._database.write() as session:
            await lock_user(session, user_id)
            if not await is_active(session, user_id):
                return []
            now = self._clock()
            taken = []
            for row in await ConnectionRequestRepository(session).due_of(user_id, now):
                taken.append(
                    AgentMessage(
                        key=f"{OUTCOME_KEY_PREFIX}connection:{row.id}",
                        text=f"[OCMT] I connected {row.connected}. You gave me the link for it: go "
                        "on with what you wanted it for.",
                        mark=mark_of(row.id),
                        sent_before=row.sends > 0,
                        delivered=partial(self._delivered, user_id, row.id),
                    )
                )
                row.deliver_at = now + retry_after(row.sends)
                row.sends += 1
        if taken:
            await self._tools_sent()
        return taken

    async def _delivered(self, user_id: str, request_id: str) -> None:
        async with self._database.write() as session:
            await ConnectionRequestRepository(session).delete(user_id, request_id)


async def note_connected(
    session: AsyncSession, user_id: str, kind: Wanted, wanted: str, *, now: datetime, what: str
) -> None:
    """Tell the agent, after the commit, if it waits for this. `what` is in words for the agent."""
    await ConnectionRequestRepository(session).fulfil(
        user_id, kind, wanted, now=now, connected=what[:CONNECTED_CHARACTERS]
    )


async def delete_old_connection_requests(session: AsyncSession, clock: Clock) -> None:
    """Delete requests that nothing fulfilled, and those whose agent could not be told for days."""
    await ConnectionRequestRepository(session).delete_before(clock() - _KEPT_FOR)


def mark_of(request_id: str) -> str:
    """What the result with the link has in the transcript of its conversation."""
    return f"(request {request_id})"
