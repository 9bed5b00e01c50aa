"""People, as an admin keeps them: inviting, suspending, bringing back; and who is active."""

from collections.abc import Sequence
from datetime import timedelta

from ocmt_common.problems import Problem
from sqlalchemy.ext.asyncio import AsyncSession

from ocmt_management.audit.service import Audit
from ocmt_management.auth.mail import Outbox
from ocmt_management.auth.messages import invitation_mail
from ocmt_management.auth.models import Invitation, Role, Status, User, new_id
from ocmt_management.auth.principal import Principal
from ocmt_management.auth.repository import InvitationRepository, UserRepository
from ocmt_management.auth.sessions import Sessions
from ocmt_management.clock import Clock
from ocmt_management.db import after_commit
from ocmt_management.settings import ManagementSettings

INVITATION_LIFE = timedelta(days=7)


class People:
    """The people of this installation, in the hands of one admin, within one unit of work."""

    def __init__(
        self,
        session: AsyncSession,
        *,
        admin: Principal,
        settings: ManagementSettings,
        clock: Clock,
        outbox: Outbox,
        sessions: Sessions,
    ) -> None:
        self._db = session
        self._users = UserRepository(session)
        self._invitations = InvitationRepository(session)
        self._audit = Audit(session, clock)
        self._sessions = sessions
        self._admin = admin
        self._settings = settings
        self._clock = clock
        self._outbox = outbox

    async def users(self) -> Sequence[User]:
        return await self._users.all()

    async def set_status(self, user_id: str, status: Status) -> User:
        """Suspend a user, which ends their sessions at once, or bring them back."""
        # Two admins who suspend each other at once are told apart here: one of them stays.
        await self._users.lock_installation()
        user = await self._users.by_id(user_id)
        if user is None:
            raise Problem(404, "user-unknown", "There is no such user; list them again.")
        if user.status == status:
            return user
        if status is Status.SUSPENDED:
            if user.role == Role.ADMIN and await self._users.active_admins() == 1:
                raise Problem(
                    409,
                    "last-admin",
                    "This is the last active admin: suspended, nobody could undo it.",
                )
            await self._sessions.end_all(user_id)
        user.status = status
        self._audit.record(f"user.{status}", user_id=user_id, actor=self._admin.user_id)
        return user

    async def invite(self, email: str) -> Invitation:
        """Let an address sign in, and tell it so by mail. Inviting again renews."""
        if await self._users.by_email(email) is not None:
            raise Problem(409, "already-user", f"{email} is a user already; they can sign in.")
        now = self._clock()
        invitation = Invitation(
            id=new_id(),
            email=email,
            invited_by=self._admin.user_id,
            created_at=now,
            expires_at=now + INVITATION_LIFE,
        )
        await self._invitations.replace(invitation)
        self._audit.record(
            "invitation.sent", user_id=self._admin.user_id, actor=self._admin.user_id, subject=email
        )
        mail = invitation_mail(
            to=email,
            invited_by=self._admin.email,
            link=f"{self._settings.page_origin}/sign-in",
            life_days=INVITATION_LIFE.days,
        )
        after_commit(self._db, lambda: self._outbox.post(mail))
        return invitation

    async def invitations(self) -> Sequence[Invitation]:
        return await self._invitations.all()

    async def revoke(self, invitation_id: str) -> None:
        if not await self._invitations.delete(invitation_id):
            raise Problem(404, "invitation-unknown", "There is no such invitation any more.")
        self._audit.record(
            "invitation.revoked",
            user_id=self._admin.user_id,
            actor=self._admin.user_id,
            subject=invitation_id,
        )


async def hold(session: AsyncSession, user_id: str) -> None:
    """Have whoever else holds this user wait until this unit of work ends."""
    await UserRepository(session).hold(user_id)


async def is_active(session: AsyncSession, user_id: str) -> bool:
    """Whether this user exists and is not suspended: an agent's token dies with its user."""
    user = await UserRepository(session).by_id(user_id)
    return user is not None and user.status == Status.ACTIVE
