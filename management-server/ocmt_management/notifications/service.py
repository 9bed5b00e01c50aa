"""Notifies a user's devices that an answer or a decision waits, unless a page shows it already.

A notification names no content: the kind, and where the page has it. One that a killed server has
not sent is lost; the answer and the decision are not.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

import structlog
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from ocmt_common.problems import Problem
from sqlalchemy.ext.asyncio import AsyncSession
from yarl import URL

from ocmt_management.auth.service import is_active, live_sessions, lock_installation
from ocmt_management.clock import Clock
from ocmt_management.db import Database
from ocmt_management.notifications.models import PushSubscription
from ocmt_management.notifications.outbox import Outbox
from ocmt_management.notifications.push_message import (
    Message,
    Recipient,
    ServerKey,
    from_base64url,
    is_on_curve,
)
from ocmt_management.notifications.repository import SubscriptionRepository
from ocmt_management.notifications.schemas import NotificationsView, Subscription
from ocmt_management.notifications.sender import Outcome, PushSender
from ocmt_management.outbound.service import Client, checked_url
from ocmt_management.settings import ManagementSettings
from ocmt_management.vault.service import KeyRing, SecretValue, ServerVault

log = structlog.get_logger(__name__)

_KEY = "push:key"
MAX_DEVICES = 20
"""The most devices of a user that are notified, the latest subscribed first."""
ATTENTION_LASTS = timedelta(seconds=90)
"""How long a page counts as visible after it said so; a visible page repeats it each minute."""
_PER_MINUTE = RateLimitItemPerMinute(30)
_REMEMBERED = 1000
_MOST_FAILURES = 5
_FAILING_REMEMBERED = 10_000
_RESOLVING_AT_ONCE = 64
_ANSWER_LIFE = timedelta(hours=12)
_DECISION_LIFE = timedelta(hours=24)


@dataclass(slots=True)
class _Failures:
    """Of messages to one subscription, in a row."""

    endpoint: str
    count: int = 0
    taken: int = -1
    """How many messages push services had taken of this server at the last that was counted."""


class Notifications:
    """Enter `open` for the server's lifetime."""

    def __init__(
        self,
        database: Database,
        keys: KeyRing,
        clock: Clock,
        sender: PushSender,
        *,
        private_hosts: frozenset[str],
    ) -> None:
        self._database = database
        self._keys = keys
        self._clock = clock
        self._sender = sender
        self._private_hosts = private_hosts
        self._key: ServerKey | None = None
        self._seen_until: dict[str, dict[str, datetime]] = {}
        """User → session whose page is visible → until when that is believed."""
        self._answered: OrderedDict[bytes, None] = OrderedDict()
        """Digests of users and runs that were notified of: several tabs report the same answer."""
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._outbox = Outbox(self._send)
        self._failures: OrderedDict[str, _Failures] = OrderedDict()
        """By session."""
        self._taken = 0

    @classmethod
    @asynccontextmanager
    async def open(
        cls, *, settings: ManagementSettings, database: Database, keys: KeyRing, clock: Clock
    ) -> AsyncIterator["Notifications"]:
        client = Client(settings.private_host_set, resolving_at_once=_RESOLVING_AT_ONCE)
        sender = PushSender(client, clock, subject=_subject(settings))
        notifications = cls(database, keys, clock, sender, private_hosts=settings.private_host_set)
        try:
            yield notifications
        finally:
            await notifications._outbox.close()
            await client.close()

    # For the page

    async def view(self, user_id: str, session_id: str) -> NotificationsView:
        key = await self._server_key()
        async with self._database.read() as session:
            rows = await self._live(session, user_id)
        on = any(row.session_id == session_id for row in rows)
        return NotificationsView(key=key.public, on=on, anywhere=bool(rows))

    async def subscribe(self, user_id: str, session_id: str, body: Subscription) -> None:
        """Store this device's subscription. Raises `Problem` if it cannot be used."""
        endpoint = checked_url(
            body.endpoint, self._private_hosts, example="https://push.example.com/…"
        )
        if URL(endpoint).scheme != "https":
            raise Problem(
                422, "url-insecure", "The address of a push service begins with https://."
            )
        public_key = from_base64url(body.public_key)
        if not is_on_curve(public_key):
            raise Problem(422, "push-key-invalid", "This browser's key is none. Turn it on again.")
        async with self._database.write() as session:
            await SubscriptionRepository(session).replace(
                PushSubscription(
                    session_id=session_id,
                    user_id=user_id,
                    endpoint=endpoint,
                    public_key=public_key,
                    auth=from_base64url(body.auth),
                    created_at=self._clock(),
                )
            )

    async def unsubscribe(self, user_id: str, session_id: str) -> None:
        async with self._database.write() as session:
            await SubscriptionRepository(session).delete(user_id, session_id)

    def attend(self, user_id: str, session_id: str, *, visible: bool) -> None:
        """Note whether the session's page is on a screen: its user then needs no notification."""
        sessions = self._seen_until.setdefault(user_id, {})
        sessions.pop(session_id, None)
        if visible:
            sessions[session_id] = self._clock() + ATTENTION_LASTS
        if not sessions:
            del self._seen_until[user_id]

    # For the other domains

    def answered(self, user_id: str, run_id: str, conversation: str) -> None:
        """An answer is complete. Called by every chat that sees it."""
        answer = _digest(user_id, run_id)
        if answer in self._answered:
            return
        self._answered[answer] = None
        if len(self._answered) > _REMEMBERED:
            self._answered.popitem(last=False)
        self._notify(
            user_id,
            Message(
                content={"kind": "answer", "conversation": conversation},
                topic=f"answer {user_id} {conversation}",
                urgent=False,
                life=_ANSWER_LIFE,
            ),
        )

    def waits(self, user_id: str, number: int) -> None:
        """A call waits for the user's decision."""
        self._notify(
            user_id,
            Message(
                content={"kind": "decision", "number": number},
                topic=f"decision {user_id} {number}",
                urgent=True,
                life=_DECISION_LIFE,
            ),
        )

    async def reaches(self, user_id: str) -> bool:
        """Whether any device of the user gets notifications."""
        async with self._database.read() as session:
            return bool(await self._live(session, user_id))

    async def sent(self) -> None:
        """Wait for the notifications that are on their way."""
        await self._outbox.sent()

    def _notify(self, user_id: str, message: Message) -> None:
        if self._is_attended(user_id):
            return
        if not self._limiter.hit(_PER_MINUTE, user_id):
            log.info("no notification: too many at once", user_id=user_id)
            return
        self._outbox.put(user_id, message)

    def _is_attended(self, user_id: str) -> bool:
        now = self._clock()
        return any(until > now for until in self._seen_until.get(user_id, {}).values())

    async def _send(self, user_id: str, message: Message, requests: asyncio.Semaphore) -> None:
        try:
            async with self._database.read() as session:
                rows = await self._live(session, user_id)
            if rows:
                key = await self._server_key()
                await asyncio.gather(*(self._send_to(key, message, row, requests) for row in rows))
        except Problem as problem:  # the database is away; /health reports it
            log.warning("no notification", user_id=user_id, reason=problem.detail)
        except Exception:
            log.exception("no notification", user_id=user_id)

    async def _send_to(
        self, key: ServerKey, message: Message, row: PushSubscription, requests: asyncio.Semaphore
    ) -> None:
        recipient = Recipient(row.endpoint, row.public_key, row.auth)
        outcome = await self._sender.send(key, message, recipient, requests=requests)
        if self._is_over(row, outcome):
            self._failures.pop(row.session_id, None)
            async with self._database.write() as session:
                await SubscriptionRepository(session).delete_dead(
                    row.user_id, row.session_id, row.endpoint
                )

    def _is_over(self, row: PushSubscription, outcome: Outcome) -> bool:
        """Whether the subscription ended, or is taken to have, after failures in a row.

        A failure counts only if a push service took some message since the one before: else the
        trouble may be this server's.
        """
        if outcome is Outcome.TAKEN:
            self._taken += 1
            self._failures.pop(row.session_id, None)
        if outcome not in (Outcome.FAILED, Outcome.AWAY):
            return outcome is Outcome.GONE
        failures = self._failures.pop(row.session_id, None)
        if failures is None or failures.endpoint != row.endpoint:
            failures = _Failures(row.endpoint)
        self._failures[row.session_id] = failures
        if len(self._failures) > _FAILING_REMEMBERED:
            self._failures.popitem(last=False)
        if failures.taken != self._taken:
            failures.count, failures.taken = failures.count + 1, self._taken
        if failures.count < _MOST_FAILURES:
            return False
        log.warning("subscription deleted: its messages fail", user_id=row.user_id)
        return True

    async def _live(self, session: AsyncSession, user_id: str) -> list[PushSubscription]:
        """The subscriptions of an active user's live sessions, the latest first."""
        if not await is_active(session, user_id):
            return []
        alive = await live_sessions(session, user_id, clock=self._clock)
        rows = await SubscriptionRepository(session).of_sessions(user_id, alive)
        return list(rows[:MAX_DEVICES])

    async def _server_key(self) -> ServerKey:
        """The server's key, made at its first use and kept among the server's secrets."""
        if self._key is None:
            async with self._database.read() as session:
                kept = await ServerVault(session, self._keys, self._clock).use(_KEY)
            self._key = ServerKey.load((kept or await self._make_key()).reveal())
        return self._key

    async def _make_key(self) -> SecretValue:
        async with self._database.write() as session:
            await lock_installation(session)
            vault = ServerVault(session, self._keys, self._clock)
            kept = await vault.use(_KEY)  # another server may have been first
            if kept is None:
                kept = SecretValue(ServerKey.new().pem())
                await vault.put(_KEY, kept, actor="server")
            return kept


def _digest(user_id: str, run_id: str) -> bytes:
    return sha256(f"{user_id} {run_id}".encode(errors="surrogatepass")).digest()


def _subject(settings: ManagementSettings) -> str:
    """Whom a push service may contact: the installation's address."""
    return settings.page_origin if settings.secure else "mailto:admin@localhost"
