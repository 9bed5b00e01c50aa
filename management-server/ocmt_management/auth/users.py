"""Users as an admin manages them: invite, suspend, reactivate, delete."""

from collections.abc import Sequence
from datetime import timedelta

from ocmt_common.problems import Problem
from sqlalchemy.ext.asyncio import AsyncSession

from ocmt_management.audit.service import Audit
from ocmt_management.auth.mail_templates import invitation_mail
from ocmt_management.auth.models import Invitation, Role, Status, User, new_id
from ocmt_management.auth.principal import Principal
from ocmt_management.auth.repository import (
    InvitationRepository,
    UserRepository,
)
from ocmt_management.auth.sessions import Sessions
from ocmt_management.clock import Clock
from ocmt_management.db import after_commit
from ocmt_management.mail.service import MailQueue
from ocmt_management.settings import ManagementSettings

INVITATION_LIFE = timedelta(days=7)
_MAIL_TRIED_FOR = timedelta(hours=4)


class UserAdministration:
    """Manages the installation's users on behalf of one admin, within one transaction."""

    def __init__(
        self,
        session: AsyncSession,
        *,
        admin: Principal,
        settings: ManagementSettings,
        clock: Clock,
        mail_queue: MailQueue,
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
        self._mail_queue = mail_queue

    async def users(self) -> Sequence[User]:
        return await self._users.all()

    async def set_status(self, user_id: str, status: Status) -> User:
        """Suspend a user, which ends their sessions at once, or reactivate them."""
        # Of two admins who suspend each other at once, the second waits here and is refused.
        await self._users.lock_installation()
        user = await self._users.by_id(user_id)
        if user is None:
            raise Problem(404, "user-unknown", "This user does not exist. Reload the list.")
        if user.status == Status.DELETING:
            raise Problem(409, "user-deleting", f"{user.email} is being deleted for good.")
        if user.status == status:
            return user
        if status is Status.SUSPENDED:
            await self._keep_an_admin(user)
            await self._sessions.end_all(user_id, actor=self._admin.user_id)
        user.status = status
        self._audit.record(f"user.{status}", user_id=user_id, actor=self._admin.user_id)
        return user

    async def delete(self, user_id: str, *, confirmation: str) -> User:
        """Mark a user for deletion and end their sessions; the row goes once the agent is removed.

        `confirmation` is the user's address. The caller shreds the vault in the same transaction.
        """
        await self._users.lock_installation()
        user = await self._users.by_id(user_id)
        if user is None:
            raise Problem(404, "user-unknown", "This user does not exist. Reload the list.")
        if user.email != confirmation:
            raise Problem(
                409,
                "wrong-confirmation",
                "The address sent is not this user's. Deleting cannot be undone: send the address "
                "of the user to delete.",
            )
        if user.status == Status.DELETING:
            return user
        await self._keep_an_admin(user)
        await self._sessions.end_all(user_id, actor=self._admin.user_id)
        await self._invitations.delete_for(user.email)
        user.status = Status.DELETING
        self._audit.record(
            "user.deleting", user_id=user_id, actor=self._admin.user_id, subject=user.email
        )
        return user

    async def _keep_an_admin(self, user: User) -> None:
        is_active_admin = user.role == Role.ADMIN and user.status == Status.ACTIVE
        if is_active_admin and await self._users.active_admins() == 1:
            raise Problem(
                409,
                "last-admin",
                "This is the last active admin; OCMT needs at least one.",
            )

    async def invite(self, email: str) -> Invitation:
        """Allow an address to sign in and mail it an invitation. Inviting again renews it."""
        if await self._users.by_email(email) is not None:
            raise Problem(409, "already-user", f"{email} is a user already and can sign in.")
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
        after_commit(self._db, lambda: self._mail_queue.post(mail, within=_MAIL_TRIED_FOR))
        return invitation

    async def invitations(self) -> Sequence[Invitation]:
        return await self._invitations.all()

    async def revoke(self, invitation_id: str) -> None:
        if not await self._invitations.delete(invitation_id):
            raise Problem(
                404, "invitation-unknown", "This invitation no longer exists. Reload the list."
            )
        self._audit.record(
            "invitation.revoked",
            user_id=self._admin.user_id,
            actor=self._admin.user_id,
            subject=invitation_id,
        )
