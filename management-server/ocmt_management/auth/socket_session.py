"""The session of an open WebSocket, which is checked again while the socket is open."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from ocmt_common.problems import Problem

from ocmt_management.auth.principal import Principal
from ocmt_management.auth.session_revocations import SessionRevocations
from ocmt_management.auth.sessions import note_use
from ocmt_management.clock import Clock
from ocmt_management.db import Database

_CHECK_EVERY_S = 60.0
"""The longest delay before a session's end in another server process is noticed."""


class SocketSession:
    """`find` reads the session from the database; it returns `None` once the session has ended."""

    def __init__(
        self,
        user: Principal,
        *,
        find: Callable[[], Awaitable[Principal | None]],
        database: Database,
        clock: Clock,
        revocations: SessionRevocations,
    ) -> None:
        self.user = user
        self._find = find
        self._database = database
        self._clock = clock
        self._revocations = revocations
        self._used_at = user.last_used_at

    async def until_ended(self) -> None:
        """Return when the session ends: by sign-out, revocation, suspension or expiry."""
        with self._revocations.watch(self.user.session_id) as revoked:
            while True:
                wait_s = _CHECK_EVERY_S
                with suppress(Problem):
                    user = await self._find()
                    if user is None:
                        return
                    left_s = (user.ends_at - self._clock()).total_seconds()
                    wait_s = min(wait_s, max(left_s, 0))
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await revoked.wait()
                    return

    async def extend(self) -> None:
        """Restart the session's idle time. Call it when a person acts, not for an open tab."""
        with suppress(Problem):
            self._used_at = await note_use(
                self._database,
                self.user.user_id,
                self.user.session_id,
                last_used_at=self._used_at,
                clock=self._clock,
            )
