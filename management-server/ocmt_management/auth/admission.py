"""Who may sign in: the first user, allowed addresses and domains, and the invited."""

from sqlalchemy.ext.asyncio import AsyncSession

from ocmt_management.auth.addresses import domain
from ocmt_management.auth.models import Role, Status, User, new_id
from ocmt_management.auth.repository import InvitationRepository, UserRepository
from ocmt_management.clock import Clock
from ocmt_management.settings import ManagementSettings


class Admission:
    """Decides within one unit of work. An installation's first user is its admin."""

    def __init__(self, session: AsyncSession, settings: ManagementSettings, clock: Clock) -> None:
        self._users = UserRepository(session)
        self._invitations = InvitationRepository(session)
        self._settings = settings
        self._clock = clock

    async def is_open_to(self, email: str) -> bool:
        """Whether this address may have a sign-in link now.

        Asks the database the same questions for every address: known ones take no longer.
        """
        user = await self._users.by_email(email)
        invitation = await self._invitations.live(email, self._clock())
        first = not await self._users.anybody()
        if user is not None:
            return user.status == Status.ACTIVE
        return invitation is not None or self._is_listed(email) or (first and self._is_unlisted())

    async def admit(self, email: str) -> User | None:
        """The user of this address, made if they are new; `None` when they may not sign in."""
        user = await self._users.by_email(email)
        if user is None:
            # Of two who come first at once, one waits here and then finds that somebody is there.
            await self._users.lock_installation()
            user = await self._users.by_email(email) or await self._newcomer(email)
        if user is None or user.status != Status.ACTIVE:
            return None
        await self._invitations.delete_for(email)
        return user

    async def _newcomer(self, email: str) -> User | None:
        if not await self.is_open_to(email):
            return None
        first = not await self._users.anybody()
        return self.add_user(email, Role.ADMIN if first else Role.MEMBER)

    def add_user(self, email: str, role: Role) -> User:
        user = User(
            id=new_id(), email=email, role=role, status=Status.ACTIVE, created_at=self._clock()
        )
        self._users.add(user)
        return user

    def _is_listed(self, email: str) -> bool:
        listed = self._settings
        return email in listed.allowed_email_set or domain(email) in listed.allowed_domain_set

    def _is_unlisted(self) -> bool:
        """Without any list the first to come is welcome; a list also says who may come first."""
        return not (self._settings.allowed_email_set or self._settings.allowed_domain_set)
