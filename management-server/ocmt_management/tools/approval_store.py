"""One user's approvals within one transaction, with their sealed arguments and results.

Every change first locks the user's row, which serialises changes to one user's approvals.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncSession

from ocmt_management.audit.service import Audit
from ocmt_management.auth.service import is_active, lock_user
from ocmt_management.clock import Clock
from ocmt_management.db import Database
from ocmt_management.tools.approval_models import DETAIL_CHARACTERS, ToolApproval
from ocmt_management.tools.approval_repository import ApprovalRepository
from ocmt_management.tools.approval_states import (
    EXPIRES_AFTER,
    ApprovalChange,
    Asked,
    Event,
    changes,
    refusal,
)
from ocmt_management.tools.calls import Standing
from ocmt_management.tools.repository import ToolRepository
from ocmt_management.tools.watchers import Watchers
from ocmt_management.vault.service import KeyRing, Vault


class Policy(Protocol):
    """Reads and changes a user's rules in the caller's transaction."""

    async def standing(
        self, session: AsyncSession, *, user_id: str, server_id: str, tool: str
    ) -> Standing:
        """The rule, pin and versions that apply to a user's tool now."""
        ...

    async def allow_always(
        self, session: AsyncSession, *, user_id: str, server_id: str, tool: str, pin: bytes
    ) -> None:
        """Set the user's own rule, to allow exactly this definition of the tool."""
        ...


class UserApprovals:
    """One user's approvals in one transaction."""

    def __init__(
        self, session: AsyncSession, keys: KeyRing, clock: Clock, policy: Policy, user_id: str
    ) -> None:
        self.session = session
        self.user_id = user_id
        self.now = clock()
        self.rows = ApprovalRepository(session)
        self.audit = Audit(session, clock)
        self._vault = Vault(session, keys, clock)
        self._policy = policy

    async def get(self, approval_id: str) -> ToolApproval | None:
        return await self.rows.of_user(self.user_id, approval_id)

    async def is_active(self) -> bool:
        return await is_active(self.session, self.user_id)

    async def digest(self, *, server_id: str, tool: str, arguments: bytes) -> bytes:
        call = b"\x00".join((server_id.encode(), tool.encode(), arguments))
        return await self._vault.digest(self.user_id, call, purpose="approval")

    async def seal(self, approval_id: str, part: str, value: bytes) -> bytes:
        return await self._vault.seal(self.user_id, value, purpose=_purpose(approval_id, part))

    async def arguments(self, row: ToolApproval) -> bytes | None:
        """The arguments; `None` once they are erased."""
        return await self._unseal(row, "arguments", row.arguments)

    async def result(self, row: ToolApproval) -> bytes | None:
        """The result; `None` if there is none, or once it is erased."""
        sealed = await self.rows.result(self.user_id, row.id)
        return await self._unseal(row, "result", sealed)

    async def _unseal(self, row: ToolApproval, part: str, sealed: bytes | None) -> bytes | None:
        if sealed is None:
            return None
        purpose = _purpose(row.id, part)
        return await self._vault.unseal(self.user_id, sealed, purpose=purpose)

    async def still_as_asked(self, row: ToolApproval) -> bool:
        """Whether nothing has changed since the person was asked. Otherwise deny, or ask again."""
        server = await ToolRepository(self.session).server_for(self.user_id, row.server_id)
        standing = await self.standing(row)
        refused = refusal(standing)
        if server is None or standing.pin is None or refused is not None:
            detail = refused or "Its server is no longer there."
            await self.rows.move(
                row, Event.REFUSE, detail=detail[:DETAIL_CHARACTERS], finished_at=self.now
            )
            return False
        asked = Asked(
            pin=row.pin,
            server_version=row.server_version,
            rules_version=row.rules_version,
            account_version=row.account_version,
        )
        found = set(changes(asked, standing, server_version=server.version))
        if not await self.is_active():
            found.add(ApprovalChange.ACCOUNT)
        if not found:
            return True
        await self.rows.move(
            row,
            Event.ASK_AGAIN,
            pin=standing.pin,
            server_version=server.version,
            rules_version=standing.rules_version,
            account_version=standing.account_version,
            changed=",".join(sorted(found)),
            expires_at=self.now + EXPIRES_AFTER,
            decision=None,
            decided_at=None,
        )
        return False

    async def standing(self, row: ToolApproval) -> Standing:
        return await self._policy.standing(
            self.session, user_id=self.user_id, server_id=row.server_id, tool=row.tool
        )

    async def allow_always(self, row: ToolApproval) -> int:
        """Allow this definition of the tool by the user's rule. Returns the rules' new version."""
        await self._policy.allow_always(
            self.session,
            user_id=self.user_id,
            server_id=row.server_id,
            tool=row.tool,
            pin=row.pin,
        )
        return (await self.standing(row)).rules_version


class ApprovalStore:
    def __init__(self, database: Database, keys: KeyRing, clock: Clock, policy: Policy) -> None:
        self.clock = clock
        self.database = database
        self.watchers = Watchers()
        self._keys = keys
        self._policy = policy

    @asynccontextmanager
    async def changing(self, user_id: str) -> AsyncIterator[UserApprovals]:
        """A transaction to change a user's approvals. Notifies their watchers after the commit."""
        async with self.database.write() as session:
            await lock_user(session, user_id)
            yield UserApprovals(session, self._keys, self.clock, self._policy, user_id)
        self.watchers.notify(user_id)

    @asynccontextmanager
    async def reading(self, user_id: str) -> AsyncIterator[UserApprovals]:
        async with self.database.read() as session:
            yield UserApprovals(session, self._keys, self.clock, self._policy, user_id)


def _purpose(approval_id: str, part: str) -> str:
    return f"approval:{approval_id}:{part}"
