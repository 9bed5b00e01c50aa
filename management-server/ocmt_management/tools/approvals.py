"""Approvals: hold a call, let its person decide, run it at most once.

A call that needs a decision becomes a row, which the page shows. The agent's request waits a while
for the decision. If none comes, the agent goes on, and a later outcome is delivered to its
conversation (`message_delivery`). The row is the only state, so any process can continue.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from uuid import uuid4

from ocmt_common.problems import Problem
from sqlalchemy.ext.asyncio import AsyncSession

from ocmt_management.clock import Clock
from ocmt_management.db import after_commit
from ocmt_management.tools.approval_arguments import ArgumentsRefused, canonical, shown
from ocmt_management.tools.approval_decisions import decide, expire
from ocmt_management.tools.approval_models import ToolApproval
from ocmt_management.tools.approval_repository import ApprovalRepository
from ocmt_management.tools.approval_results import ended, given_up, text_result, waits
from ocmt_management.tools.approval_runner import ApprovalRunner
from ocmt_management.tools.approval_schemas import ApprovalView, view
from ocmt_management.tools.approval_states import (
    EXPIRES_AFTER,
    MAIL_AFTER,
    OPEN,
    ApprovalState,
    Decision,
    Delivery,
)
from ocmt_management.tools.approval_store import ApprovalStore, UserApprovals
from ocmt_management.tools.calls import ToolCall
from ocmt_management.tools.repository import ToolRepository

HOLD_S = 45.0
MAX_WAITING = 20
"""Most waiting approvals of one user. An agent that makes more calls is in a loop."""
_HELD_FOR = timedelta(seconds=HOLD_S + 5)
_POLL_S = 2.0
"""The longest delay before a decision in another process is noticed."""
_ANSWERED_AFTER_S = 2.0
_SHOWN = 50
_CONTENTS_KEPT_FOR = timedelta(days=7)
_KEPT_FOR = timedelta(days=180)


class Approvals:
    """`link(number)` returns the address of the page on which to decide that approval.

    `mail` is whether mail can be sent; `hold_s` is how long a request waits for a decision;
    `on_waiting` is called with the user and the number of each call that begins to wait.
    """

    def __init__(
        self,
        store: ApprovalStore,
        runner: ApprovalRunner,
        *,
        link: Callable[[int], str],
        mail: bool,
        on_waiting: Callable[[str, int], None],
        hold_s: float = HOLD_S,
    ) -> None:
        self._store = store
        self._runner = runner
        self._link = link
        self._mail = mail
        self._on_waiting = on_waiting
        self._hold_s = hold_s
        self._holders: Counter[str] = Counter()
        self._answered: dict[str, tuple[str, float]] = {}
        """Id of an approval whose outcome was returned to a held call → its user, and when."""
        self._letting_go: set[asyncio.Task[None]] = set()
        self.watchers = store.watchers

    # For the agent

    async def hold(
        self, call: ToolCall, *, rules_version: int, account_version: int, request: bytes
    ) -> bytes:
        """Ask the person, and wait a while. Returns a `CallToolResult` as JSON.

        Cancel it when the agent's request ends, or call `given_up` with the same `request` in
        another process: the outcome is then delivered to the agent's conversation.
        """
        try:
            arguments = canonical(call.arguments)
        except ArgumentsRefused as reason:
            return text_result(
                "This call needs the decision of your person, but its arguments cannot be shown to "
                f"them: {reason}. Call it with smaller arguments in plain JSON.",
                error=True,
            )
        try:
            opened = await self._open(
                call,
                arguments,
                rules_version=rules_version,
                account_version=account_version,
                request=request,
            )
        except Problem as problem:
            return text_result(f"Your person cannot be asked now. {problem.detail}", error=True)
        if isinstance(opened, bytes):
            return opened
        approval_id, number = opened
        try:
            with self._holding(approval_id):
                outcome = await self._wait(call.user_id, approval_id)
        except _GivenUp:
            return given_up()
        except asyncio.CancelledError:
            letting_go = asyncio.create_task(self._let_go(call.user_id, approval_id))
            self._letting_go.add(letting_go)
            letting_go.add_done_callback(self._letting_go.discard)
            raise
        if outcome is not None:
            self._answered[approval_id] = call.user_id, time.monotonic()
            return outcome
        await self._let_go(call.user_id, approval_id)
        # Decided at the last moment: the outcome is delivered as well.
        return waits(number, self._link(number))

    async def given_up(self, user_id: str, request: bytes) -> None:
        """Deliver the outcomes that this request waits for, in any process, to the conversation.

        Its wait ends within two seconds.
        """
        async with self._store.reading(user_id) as mine:
            if not await mine.rows.held_by(user_id, request):
                return
        async with self._store.changing(user_id) as mine:
            for row in await mine.rows.held_by(user_id, request):
                await mine.rows.note(row, request=None, delivery=Delivery.DUE, deliver_at=mine.now)

    async def outcome(self, user_id: str, number: int) -> bytes | None:
        """A call's outcome, or that it waits, as a `CallToolResult`; `None` if it is unknown."""
        async with self._store.reading(user_id) as mine:
            row = await mine.rows.by_number(user_id, number)
            if row is None:
                return None
            if row.state in OPEN:
                return waits(number, self._link(number))
            return ended(ApprovalState(row.state), number, row.detail, await mine.result(row))

    # For the person

    async def latest(self, user_id: str) -> list[ApprovalView]:
        """The user's open approvals and the latest others, newest first."""
        async with self._store.reading(user_id) as mine:
            rows = await mine.rows.latest(user_id, limit=_SHOWN)
            return [await _view(mine, row) for row in rows]

    async def updates(self, user_id: str, sent: Mapping[str, int]) -> list[ApprovalView]:
        """Approvals that the page lacks or has in another version; `sent` is its versions by id."""
        async with self._store.reading(user_id) as mine:
            rows = await mine.rows.latest(user_id, limit=_SHOWN)
            return [
                await _view(mine, row)
                for row in reversed(rows)
                if sent.get(row.id) != row.version and (row.id in sent or row.state in OPEN)
            ]

    async def decide(
        self, user_id: str, approval_id: str, decision: Decision, *, version: int
    ) -> ApprovalView:
        """Store the decision, and start the call if it is approved.

        Raises `Problem` if the approval is unknown, decided, or no longer the `version` shown.
        """
        async with self._store.changing(user_id) as mine:
            row = await mine.get(approval_id)
            if row is None:
                raise Problem(404, "approval-unknown", "There is no such call. Reload the page.")
            problem = await decide(mine, row, decision, version=version)
            decided = await _view(mine, row)
        if problem is not None:  # raised after the commit: what has changed is stored
            raise problem
        if decided["state"] is ApprovalState.APPROVED:
            self._runner.start(user_id, approval_id)
        return decided

    # For the loop

    async def forget_answered(self, *, after_s: float = _ANSWERED_AFTER_S) -> None:
        """Mark outcomes as delivered that were returned to held calls over `after_s` seconds ago.

        The delay covers a process that dies before it has sent the response: another one then
        delivers the outcome.
        """
        until = time.monotonic() - after_s
        for approval_id, (user_id, at) in list(self._answered.items()):
            if at > until:
                continue
            del self._answered[approval_id]
            with suppress(Problem):
                async with self._store.changing(user_id) as mine:
                    row = await mine.get(approval_id)
                    if row is not None and row.delivery == Delivery.HELD and row.state not in OPEN:
                        await mine.rows.note(row, delivery=Delivery.DONE)

    async def expire(self, user_id: str, approval_id: str) -> None:
        async with self._store.changing(user_id) as mine:
            row = await mine.get(approval_id)
            if row is not None and row.expires_at <= mine.now:
                await expire(mine, row)

    async def close(self) -> None:
        """Finish releasing held outcomes, so that another process can deliver them at once."""
        await asyncio.gather(*self._letting_go, return_exceptions=True)
        await self.forget_answered(after_s=0)

    async def release_held(self, user_id: str, approval_id: str) -> None:
        """Deliver a held outcome to the conversation, unless a request here waits for it."""
        if not self._holders[approval_id] and approval_id not in self._answered:
            await self._let_go(user_id, approval_id)

    # Holding

    async def _open(
        self,
        call: ToolCall,
        arguments: bytes,
        *,
        rules_version: int,
        account_version: int,
        request: bytes,
    ) -> tuple[str, int] | bytes:
        """`(id, number)` of a new or identical open approval, or a result that refuses the call."""
        async with self._store.changing(call.user_id) as mine:
            server = await ToolRepository(mine.session).server_for(call.user_id, call.server_id)
            if server is None or not await mine.is_active():
                return text_result("This tool is no longer connected.", error=True)
            digest = await mine.digest(
                server_id=call.server_id, tool=call.tool, arguments=arguments
            )
            last = await mine.rows.latest_identical(call.user_id, digest)
            held_until = mine.now + _HELD_FOR
            untold = (
                last is not None
                and last.delivery != Delivery.DONE
                and last.id not in self._answered
            )
            if last is not None and (last.state in OPEN or untold):
                await mine.rows.note(
                    last, delivery=Delivery.HELD, held_until=held_until, request=request
                )
                return last.id, last.number
            if await mine.rows.waiting(call.user_id) >= MAX_WAITING:
                return text_result(
                    f"{MAX_WAITING} calls wait for the decision of your person already, so this "
                    "one was not asked for. End your turn, and ask them to decide on those first.",
                    error=True,
                )
            approval_id, number = str(uuid4()), await mine.rows.last_number(call.user_id) + 1
            mine.rows.add(
                ToolApproval(
                    id=approval_id,
                    user_id=call.user_id,
                    number=number,
                    server_id=call.server_id,
                    server=server.name,
                    tool=call.tool,
                    digest=digest,
                    arguments=await mine.seal(approval_id, "arguments", arguments),
                    pin=call.pin,
                    server_version=server.version,
                    rules_version=rules_version,
                    account_version=account_version,
                    state=ApprovalState.WAITING,
                    version=1,
                    changed="",
                    repeats=None if last is None else last.number,
                    created_at=mine.now,
                    expires_at=mine.now + EXPIRES_AFTER,
                    mail_at=mine.now + MAIL_AFTER if self._mail else None,
                    delivery=Delivery.HELD,
                    held_until=held_until,
                    request=request,
                    deliver_at=mine.now,
                    sends=0,
                )
            )
            after_commit(mine.session, lambda: self._on_waiting(call.user_id, number))
            return approval_id, number

    async def _wait(self, user_id: str, approval_id: str) -> bytes | None:
        """Wait for the call's outcome; `None` if it does not come in time. Raises `_GivenUp`."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._hold_s
        with self.watchers.watch(user_id) as changed:
            while True:
                changed.clear()
                with suppress(Problem):  # the database is away: wait on
                    outcome = await self._outcome(user_id, approval_id)
                    if outcome is not None:
                        return outcome
                left_s = until - loop.time()
                if left_s <= 0:
                    return None
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(left_s, _POLL_S)):
                        await changed.wait()

    async def _outcome(self, user_id: str, approval_id: str) -> bytes | None:
        async with self._store.reading(user_id) as mine:
            row = await mine.get(approval_id)
            if row is None:
                return text_result("This call was withdrawn.", error=True)
            if row.request is None and row.delivery == Delivery.DUE:
                raise _GivenUp
            if row.state in OPEN:
                return None
            return ended(ApprovalState(row.state), row.number, row.detail, await mine.result(row))

    @contextmanager
    def _holding(self, approval_id: str) -> Iterator[None]:
        self._holders[approval_id] += 1
        try:
            yield
        finally:
            self._holders[approval_id] -= 1
            if not self._holders[approval_id]:
                del self._holders[approval_id]

    async def _let_go(self, user_id: str, approval_id: str) -> None:
        """Deliver the outcome to the conversation, unless another request holds the call."""
        if self._holders[approval_id]:
            return
        with suppress(Problem):  # else another attempt follows when `held_until` has passed
            async with self._store.changing(user_id) as mine:
                row = await mine.get(approval_id)
                if row is not None and row.delivery == Delivery.HELD:
                    await mine.rows.note(row, delivery=Delivery.DUE, deliver_at=mine.now)


class _GivenUp(Exception):
    """Another process was notified that the agent gave its request up."""


async def delete_old_approvals(session: AsyncSession, clock: Clock) -> None:
    """Erase the contents of approvals that ended long ago; delete still older ones."""
    rows = ApprovalRepository(session)
    await rows.erase_before(clock() - _CONTENTS_KEPT_FOR)
    await rows.delete_before(clock() - _KEPT_FOR)


async def _view(mine: UserApprovals, row: ToolApproval) -> ApprovalView:
    arguments = await mine.arguments(row)
    waits = row.state == ApprovalState.WAITING
    return view(
        row,
        arguments=None if arguments is None else shown(arguments),
        always_refused=(await mine.standing(row)).always_refused if waits else None,
    )
