"""Approvals on a real database, with simulated server processes that can be killed at any step."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from typing import Any, cast
from uuid import uuid4

from ocmt_common.problems import Problem
from ocmt_management.agents.service import Agents
from ocmt_management.auth.models import Role, Status, User
from ocmt_management.db import Database
from ocmt_management.mail.service import MailQueue
from ocmt_management.settings import ManagementSettings
from ocmt_management.tools.approval_loop import ApprovalLoop
from ocmt_management.tools.approval_mail import ApprovalMail
from ocmt_management.tools.approval_models import ToolApproval
from ocmt_management.tools.approval_outcomes import ApprovalOutcomes
from ocmt_management.tools.approval_runner import ApprovalRunner
from ocmt_management.tools.approval_schemas import ApprovalView
from ocmt_management.tools.approval_states import Decision
from ocmt_management.tools.approval_store import ApprovalStore
from ocmt_management.tools.approvals import Approvals
from ocmt_management.tools.calls import Standing, ToolCall
from ocmt_management.tools.connection_requests import ConnectionRequests
from ocmt_management.tools.message_delivery import MessageDelivery
from ocmt_management.tools.models import ConnectionRequest, Rule, ToolServer
from ocmt_management.tools.trouble import Kind, NotSent
from ocmt_management.vault.keys import KeyRing
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

PIN = b"p" * 32
RESULT = b'{"content":[{"type":"text","text":"sent to bob"}]}'


class Killed(BaseException):
    """Raised where a process is killed."""


class Killing:
    """Counts a process's steps. The chosen one and all later ones raise `Killed`."""

    def __init__(self, at: int | None) -> None:
        self.steps = 0
        self.dead = False
        self._at = at

    def step(self) -> None:
        if not self.dead:
            self.steps += 1
            self.dead = self.steps == self._at
        if self.dead:
            raise Killed


class KillableDatabase(Database):
    """A database that calls `killing.step` before each transaction and around its commit."""

    killing = Killing(None)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        self.killing.step()
        async with super().read() as session:
            yield session

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        self.killing.step()
        async with super().write() as session:
            yield session
            self.killing.step()
        self.killing.step()


class Policy:
    """Rules by tool, set by the test."""

    def __init__(self) -> None:
        self.standings: defaultdict[str, Standing] = defaultdict(
            lambda: Standing(rule=Rule.ASK, pin=PIN, rules_version=1, account_version=1)
        )
        self.always: list[tuple[str, str, bytes]] = []

    async def standing(
        self, session: AsyncSession, *, user_id: str, server_id: str, tool: str
    ) -> Standing:
        return self.standings[tool]

    async def allow_always(
        self, session: AsyncSession, *, user_id: str, server_id: str, tool: str, pin: bytes
    ) -> None:
        self.always.append((user_id, tool, pin))
        before = self.standings[tool]
        self.standings[tool] = Standing(
            rule=Rule.ALLOW,
            pin=before.pin,
            rules_version=before.rules_version + 1,
            account_version=before.account_version,
        )

    def set(self, tool: str, **values: Any) -> None:
        before = self.standings[tool]
        names = ("rule", "pin", "rules_version", "account_version")
        self.standings[tool] = Standing(**({n: getattr(before, n) for n in names} | values))


class Transcript:
    """One agent's conversation, which outlives server processes."""

    def __init__(self) -> None:
        self.messages: dict[str, str] = {}
        """Idempotency key → message."""
        self.dies_at_send: list[str] = []
        """What the gateway does at the next messages: it dies `before` or `after` it has them in
        its transcript, or with them in its queue (`queued`)."""
        self.interrupted: list[str] = []
        """Keys of messages that were in the queue of a gateway that died."""
        self.sends = 0

    def receive(self, key: str, message: str) -> None:
        self.sends += 1
        death = self.dies_at_send.pop(0) if self.dies_at_send else None
        if death == "queued":
            self.interrupted.append(key)
        elif death != "before":
            # A restarted gateway has forgotten its keys, so the message would arrive twice.
            assert key not in self.messages
            self.messages[key] = message
        if death is not None:
            raise Problem(503, "connection-lost", "The connection to the agent was lost.")

    def history(self) -> dict[str, Any]:
        rows = [
            {"role": "user", "idempotencyKey": f"{k}:user", "content": text}
            for k, text in self.messages.items()
        ]
        items = [{"runId": key, "state": "interrupted"} for key in self.interrupted]
        return {"messages": rows, "pendingInputs": {"items": items}}


class World:
    """What outlives the processes: the database, clock, tool server, agents and mailboxes."""

    def __init__(self, settings: ManagementSettings) -> None:
        self.settings = settings
        self.now = datetime(2026, 11, 30, 12, tzinfo=UTC)
        self.keys = KeyRing(settings.vault_keys)
        self.policy = Policy()
        self.ran: list[ToolCall] = []
        """The calls that reached the tool server."""
        self.result = RESULT
        self.not_sent = 0
        """How many of the next calls are not sent."""
        self.before_not_sent: Callable[[], Awaitable[None]] | None = None
        self.during_a_call: Callable[[], Awaitable[None]] | None = None
        self.transcripts: defaultdict[str, Transcript] = defaultdict(Transcript)
        self.unreachable: Problem | None = None
        self.mails: list[EmailMessage] = []
        self.server_id = str(uuid4())
        self.processes: list[Process] = []
        self.database = Database(settings.database)

    async def prepare(self) -> None:
        async with self.database.write() as session:
            session.add(
                ToolServer(
                    id=self.server_id, owner_id=None, slug="mail", name="Mail", transport="http",
                    url="https://mail.example.com/mcp", enabled=True, version=1,
                    created_at=self.now, updated_at=self.now,
                )
            )  # fmt: skip

    async def person(self) -> str:
        user_id = str(uuid4())
        async with self.database.write() as session:
            session.add(
                User(
                    id=user_id, email=f"{user_id}@example.com", role=Role.MEMBER,
                    status=Status.ACTIVE, created_at=self.now,
                )
            )  # fmt: skip
        return user_id

    def start(self, *, kill_at: int | None = None, mail: bool = False) -> "Process":
        process = Process(self, Killing(kill_at), mail=mail)
        self.processes.append(process)
        return process

    def call(
        self, user_id: str, tool: str = "send", arguments: bytes = b'{"to":"bob"}'
    ) -> ToolCall:
        return ToolCall(
            user_id=user_id, server_id=self.server_id, tool=tool, arguments=arguments, pin=PIN
        )

    async def rows(self, user_id: str) -> list[ToolApproval]:
        async with self.database.read() as session:
            rows = await session.scalars(
                select(ToolApproval)
                .where(ToolApproval.user_id == user_id)
                .order_by(ToolApproval.number)
            )
            return list(rows)

    async def settle(self, *, mail: bool = False) -> None:
        """Run a process that is not killed for the next ten minutes of the clock."""
        for other in self.processes:
            if not other.killing.dead:
                await other.idle()
        process = self.start(mail=mail)
        end = self.now + timedelta(minutes=10)
        while self.now < end:
            await process.attend()
            async with self.database.read() as session:
                due = [
                    await session.scalar(select(func.min(at)).where(at < end))
                    for at in (ToolApproval.next_at, ConnectionRequest.deliver_at)
                ]
            next_at = min((at for at in due if at is not None), default=None)
            # At least a second, since what cannot be done now stays due.
            self.now = max(self.now + timedelta(seconds=1), next_at or end)

    async def close_processes(self) -> None:
        while self.processes:
            await self.processes.pop().end()

    async def close(self) -> None:
        await self.close_processes()
        await self.database.close()


class _Calls:
    def __init__(self, world: World, killing: Killing) -> None:
        self._world = world
        self._killing = killing

    async def run(self, call: ToolCall) -> bytes:
        self._killing.step()
        if self._world.not_sent:
            self._world.not_sent -= 1
            if self._world.before_not_sent is not None:
                await self._world.before_not_sent()
            raise NotSent(Kind.UNAVAILABLE, "The database is away.")
        self._world.ran.append(call)
        if self._world.during_a_call is not None:
            await self._world.during_a_call()
        self._killing.step()
        return self._world.result


class GatewayDouble:
    """A process's connection to an agent's gateway."""

    def __init__(self, world: World, killing: Killing, user_id: str) -> None:
        self._world = world
        self._killing = killing
        self._transcript = world.transcripts[user_id]

    async def events(self) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        await asyncio.Event().wait()
        yield "", {}

    async def request(self, method: str, **params: Any) -> dict[str, Any]:
        self._killing.step()
        if method == "chat.history":
            return self._transcript.history()
        if method == "sessions.list":
            return {"sessions": [{"key": "agent:main:main"}]}
        assert method == "chat.send"
        self._transcript.receive(params["idempotencyKey"], params["message"])
        self._killing.step()
        return {"runId": params["idempotencyKey"], "status": "started"}

    async def close(self) -> None:
        pass


class _Agents:
    def __init__(self, world: World, killing: Killing) -> None:
        self.server = self
        self.world = world
        self.killing = killing

    async def require_ready(self, user_id: str) -> None:
        self.killing.step()
        if self.world.unreachable is not None:
            raise self.world.unreachable


class _Mailer:
    def __init__(self, world: World) -> None:
        self._world = world

    async def send(self, message: EmailMessage) -> None:
        self._world.mails.append(message)


class Process:
    """A simulated server process."""

    def __init__(self, world: World, killing: Killing, *, mail: bool) -> None:
        self.killing = killing
        self.database = KillableDatabase(world.settings.database)
        self.database.killing = killing
        store = ApprovalStore(self.database, world.keys, lambda: world.now, world.policy)
        self.runner = ApprovalRunner(store, _Calls(world, killing))
        self.approvals = Approvals(
            store, self.runner, link=lambda number: f"https://ocmt/tools?decision={number}",
            mail=mail, on_waiting=lambda *_: None, hold_s=20,
        )  # fmt: skip
        self.connection_requests = ConnectionRequests(
            self.database, lambda: world.now, tools_sent=self._tools_sent
        )
        self.delivery = MessageDelivery(
            cast(Agents, _Agents(world, killing)),
            ApprovalOutcomes(store),
            self.connection_requests,
        )
        self.mail_queue = MailQueue(_Mailer(world))
        self.loop = ApprovalLoop(
            store,
            self.approvals,
            runner=self.runner,
            delivery=self.delivery,
            mail=ApprovalMail(store, self.mail_queue, link="https://ocmt/tools"),
            connection_requests=self.connection_requests,
        )
        self.world = world
        self._tasks: list[asyncio.Task[Any]] = []

    def hold(self, call: ToolCall, request: bytes = b"r" * 32) -> asyncio.Task[bytes]:
        """The agent calls, and waits for the result."""
        return self._task(
            self.approvals.hold(call, rules_version=1, account_version=1, request=request)
        )

    async def gives_up(self, call: ToolCall) -> bytes:
        """Make a call that is not decided in time."""
        self.approvals._hold_s = 0
        try:
            return await self.hold(call)
        finally:
            self.approvals._hold_s = 20

    async def waiting(self, user_id: str) -> ApprovalView:
        """Wait until a call waits, and return it as the person sees it."""
        async with asyncio.timeout(60):
            while True:
                for one in await self.approvals.latest(user_id):
                    if one["state"] == "waiting":
                        return one
                await asyncio.sleep(0.01)

    async def holding(self, count: int) -> None:
        """Wait until this process holds `count` requests."""
        async with asyncio.timeout(60):
            while self.approvals._holders.total() < count:  # noqa: ASYNC110 -- no event says so
                await asyncio.sleep(0.01)

    async def decide(self, user_id: str, decision: Decision = Decision.ONCE) -> ApprovalView:
        """Decide on the first waiting call."""
        shown = await self.waiting(user_id)
        return await self.approvals.decide(user_id, shown["id"], decision, version=shown["version"])

    async def attend(self) -> None:
        """Run one pass of the loop, long after the last response, and wait for what it starts."""
        await self.approvals.forget_answered(after_s=0)
        await self.loop.attend()
        await self.idle()

    async def idle(self) -> None:
        await self.runner.idle()
        await self.delivery.idle()
        await self.mail_queue.delivered()

    async def stop(self) -> None:
        """Shut down, without waiting for running calls."""
        for task in list(self.runner._tasks.values()):
            task.cancel()
        await self.runner.close()
        await self.delivery.close()

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        with suppress(Killed):
            await self.approvals.close()
        await self.database.close()

    async def _tools_sent(self) -> None:
        self.killing.step()

    def _task(self, work: Coroutine[Any, Any, bytes]) -> asyncio.Task[bytes]:
        task = asyncio.create_task(work)
        self._tasks.append(task)
        return task


async def open_gateway(server: Any, user_id: str) -> GatewayDouble:
    """Replaces `Gateway.open`."""
    server.killing.step()
    return GatewayDouble(server.world, server.killing, user_id)
