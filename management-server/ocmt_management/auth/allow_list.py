"""Which addresses may sign in: listed addresses and domains, invited ones, and existing users.

Signing in never makes an admin: the operator makes the first one (`operator_link`).
"""

from sqlalchemy.ext.asyncio import AsyncSession

from ocmt_management.audit.service import STRANGER, Audit
from ocmt_management.auth.models import Role, Status, User, new_id
from ocmt_management.auth.repository import (
    InvitationRepository,
    LinkRepository,
    UserRepository,
)
from ocmt_management.clock import Clock
from ocmt_management.email_addresses import domain
from ocmt_management.settings import ManagementSettings


class AllowList:
    """Decides which addresses may sign in, and adds their users, within one transaction."""

    def __init__(self, session: AsyncSession, settings: ManagementSettings, clock: Clock) -> None:
        self._session = session
        self._users = UserRepository(session)
        self._invitations = InvitationRepository(session)
        self._audit = Audit(session, clock)
        self._settings = settings
        self._clock = clock

    async def allows(self, email: str) -> bool:
        """Whether this address may have a sign-in link now.

        Runs the same queries for every address, so that timing does not reveal which are known.
        """
        user = await self._users.by_email(email)
        invitation = await self._invitations.live(email, self._clock())
        if user is not None:
            return user.status == Status.ACTIVE
        return invitation is not None or self._is_listed(email)

    async def find_or_add_user(self, email: str) -> User | None:
        """The user of this address, added if new; `None` when the address may not sign in."""
        user = await self._users.by_email(email)
        if user is None:
            # Of two browsers with one new address, the second waits here and then finds the user.
            await self._users.lock_installation()
            user = await self._users.by_email(email) or await self._add_if_allowed(email)
        if user is None or user.status != Status.ACTIVE:
            return None
        await self._invitations.delete_for(email)
        return user

    async def _add_if_allowed(self, email: str) -> User | None:
        if not await self.allows(email):
            return None
        # With the account its invitation's link ends, which an admin may have kept.
        await LinkRepository(self._session).delete_made_for(email)
        return self.add_user(email, Role.MEMBER, actor=STRANGER)

    def add_user(self, email: str, role: Role, *, actor: str) -> User:
        user = User(
            id=new_id(), email=email, role=role, status=Status.ACTIVE, created_at=self._clock()
        )
        self._users.add(user)
        self._audit.record("user.created", user_id=user.id, actor=actor, subject=email)
        return user

    def _is_listed(self, email: str) -> bool:
        listed = self._settings
        return email in listed.allowed_email_set or domain(email) in listed.allowed_domain_set
