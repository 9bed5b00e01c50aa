"""Sessions: begin, find, list, end. The cookie holds a random token, the database its hash."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from ocmt_management.audit.service import Audit, client_of_request
from ocmt_management.auth.cookies import SESSION_LIFE
from ocmt_management.auth.models import Role, User, UserSession
from ocmt_management.auth.principal import Principal
from ocmt_management.auth.repository import SessionRepository
from ocmt_management.auth.session_revocations import SessionRevocations
from ocmt_management.clock import Clock
from ocmt_management.db import Database, after_commit
from ocmt_management.tokens import new_token, token_hash

IDLE_LIFE = timedelta(days=14)
_TOUCH_EVERY = timedelta(minutes=5)
_USER_AGENT_CHARACTERS = 200


class Sessions:
    """Begins, lists and ends sessions, within one transaction."""

    def __init__(
        self, session: AsyncSession, clock: Clock, revocations: SessionRevocations
    ) -> None:
        self._db = session
        self._rows = SessionRepository(session)
        self._clock = clock
        self._revocations = revocations
        self._audit = Audit(session, clock)

    def begin(self, user: User, *, user_agent: str) -> str:
        """Start a session and return its token; only the hash is stored."""
        token = new_token()
        now = self._clock()
        self._rows.add(
            UserSession(
                user_id=user.id,
                token_hash=token_hash(token),
                user_agent=user_agent[:_USER_AGENT_CHARACTERS],
                client=client_of_request(),
                created_at=now,
                last_used_at=now,
                expires_at=now + SESSION_LIFE,
            )
        )
        return token

    async def list(self, user_id: str) -> Sequence[UserSession]:
        now = self._clock()
        return await self._rows.of_user(user_id, now=now, used_after=now - IDLE_LIFE)

    async def end(self, user_id: str, session_id: str, *, action: str) -> bool:
        """End one session of this user; `False` when the user has no such session.

        `action` names the event in the audit trail.
        """
        ended = await self._rows.delete(user_id, session_id)
        if ended:
            self._audit.record(action, user_id=user_id, actor=user_id, subject=session_id)
            after_commit(self._db, lambda: self._revocations.announce([session_id]))
        return ended

    async def end_all(self, user_id: str, *, actor: str) -> None:
        ended = await self._rows.delete_of_user(user_id)
        for session_id in ended:
            self._audit.record("session.ended", user_id=user_id, actor=actor, subject=session_id)
        after_commit(self._db, lambda: self._revocations.announce(ended))


async def find(database: Database, token: str, *, clock: Clock, used: bool) -> Principal | None:
    """The user of the session with this token; `None` if it is unknown, ended or its user inactive.

    `used` restarts the session's idle time: pass `True` when a person acts. Runs in its own
    transactions, so that a request's transaction begins with the request's first statement.
    """
    now = clock()
    async with database.read() as reading:
        found = await SessionRepository(reading).live(
            token_hash(token), now=now, used_after=now - IDLE_LIFE
        )
    if found is None:
        return None
    session, user = found
    used_at = session.last_used_at
    if used:
        used_at = await note_use(database, user.id, session.id, last_used_at=used_at, clock=clock)
    return Principal(
        user_id=user.id,
        email=user.email,
        role=Role(user.role),
        session_id=session.id,
        last_used_at=used_at,
        ends_at=min(session.expires_at, used_at + IDLE_LIFE),
    )


async def note_use(
    database: Database, user_id: str, session_id: str, *, last_used_at: datetime, clock: Clock
) -> datetime:
    """Record that a person used the session, at most every 5 minutes. Returns the recorded time."""
    now = clock()
    if now - last_used_at < _TOUCH_EVERY:
        return last_used_at
    async with database.write() as writing:
        await SessionRepository(writing).touch(user_id, session_id, now, client=client_of_request())
    return now


async def delete_expired_sessions(session: AsyncSession, clock: Clock) -> None:
    now = clock()
    audit = Audit(session, clock)
    for session_id, user_id in await SessionRepository(session).delete_expired(
        now=now, used_after=now - IDLE_LIFE
    ):
        audit.record("session.expired", user_id=user_id, actor="server", subject=session_id)
