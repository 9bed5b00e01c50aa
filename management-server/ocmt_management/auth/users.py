"""Users as an admin manages them: invite, suspend, reactivate, delete, change the role."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from ocmt_common.problems import Problem
from sqlalchemy.ext.asyncio import AsyncSession

from ocmt_management.audit.service import Audit
from ocmt_management.auth.links import add_link, link_address
from ocmt_management.auth.mail_templates import invitation_mail
from ocmt_management.auth.models import Invitation, Role, Status, User, new_id
from ocmt_management.auth.principal import Principal
from ocmt_management.auth.repository import (
    InvitationRepository,
    LinkRepository,
    UserRepository,
)
from ocmt_management.auth.sessions import Sessions
from ocmt_management.clock import Clock
from ocmt_management.db import after_commit
from ocmt_management.mail.service import MailQueue
from ocmt_management.settings import ManagementSettings
from ocmt_management.tokens import KeyedHash

INVITATION_LIFE = timedelta(days=7)
_MAIL_TRIED_FOR = timedelta(hours=4)


async def keep_an_admin(users: UserRepository, user: User) -> None:
    """Raises `Problem` for the last active admin."""
    is_active_admin = user.role == Role.ADMIN and user.status == Status.ACTIVE
    if is_active_admin and await users.active_admins() == 1:
        raise Problem(
            409,
            "last-admin",
            "This is the last active admin; OCMT needs at least one.",
        )


async def deletable(users: UserRepository, user_id: str, *, confirmation: str) -> User:
    """The user, if they may be deleted. Raises `Problem` otherwise.

    `confirmation` is the user's address.
    """
    user = await users.by_id(user_id)
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
    await keep_an_admin(users, user)
    return user


class UserDeletion:
    """Deletes a user on behalf of `actor`, within one transaction."""

    def __init__(
        self, session: AsyncSession, *, actor: str, clock: Clock, sessions: Sessions
    ) -> None:
        self._users = UserRepository(session)
        self._invitations = InvitationRepository(session)
        self._audit = Audit(session, clock)
        self._sessions = sessions
        self._actor = actor

    async def delete(self, user_id: str, *, confirmation: str) -> User:
        """Begin to delete a user: end the sessions. The row is deleted once the agent is removed.

        `confirmation` is the user's address. The caller shreds the vault in the same transaction.
        """
        await self._users.lock_installation()
        user = await deletable(self._users, user_id, confirmation=confirmation)
        if user.status == Status.DELETING:
            return user
        await self._sessions.end_all(user_id, actor=self._actor)
        await self._invitations.delete_for(user.email)
        user.status = Status.DELETING
        self._audit.record("user.deleting", user_id=user_id, actor=self._actor, subject=user.email)
        return user


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
        self._links = LinkRepository(session)
        self._audit = Audit(session, clock)
        self._sessions = sessions
        self._deletion = UserDeletion(session, actor=admin.user_id, clock=clock, sessions=sessions)
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
            await keep_an_admin(self._users, user)
            await self._sessions.end_all(user_id, actor=self._admin.user_id)
        user.status = status
        self._audit.record(f"user.{status}", user_id=user_id, actor=self._admin.user_id)
        return user

    async def set_role(self, user_id: str, role: Role) -> User:
        """Make a user an admin, or a member again. Their sessions go on, with the new role.

        Raises `Problem`.
        """
        await self._users.lock_installation()
        user = await self._users.by_id(user_id)
        if user is None:
            raise Problem(404, "user-unknown", "This user does not exist. Reload the list.")
        if user.status == Status.DELETING:
            raise Problem(409, "user-deleting", f"{user.email} is being deleted for good.")
        if user.role == role:
            return user
        if role is Role.MEMBER:
            await keep_an_admin(self._users, user)
        user.role = role
        self._audit.record(f"user.{role}", user_id=user_id, actor=self._admin.user_id)
        return user

    async def delete(self, user_id: str, *, confirmation: str) -> User:
        return await self._deletion.delete(user_id, confirmation=confirmation)

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
        await self._links.delete_made_for(email)  # one of the invitation that this one replaces
        await self._invitations.replace(invitation)
        self._audit.record(
            "invitation.sent", user_id=self._admin.user_id, actor=self._admin.user_id, subject=email
        )
        mail = invitation_mail(
            to=email,
            invited_by=self._admin.email,
            link=self._link_for(invitation),
            life_days=INVITATION_LIFE.days,
        )
        after_commit(self._db, lambda: self._mail_queue.post(mail, within=_MAIL_TRIED_FOR))
        return invitation

    def _link_for(self, invitation: Invitation) -> str:
        """A link that signs in its first opener, in any browser, as long as the invitation."""
        token = add_link(
            self._links,
            KeyedHash(self._settings.jwt_secret),
            invitation.email,
            now=self._clock(),
            expires_at=invitation.expires_at,
        )
        return link_address(self._settings, token)

    async def invitations(self) -> Sequence[Invitation]:
        return await self._invitations.all()

    async def invitation_link(self, invitation_id: str) -> tuple[str, datetime]:
        """A link that signs in its first opener as the invited person, and when it ends.

        For installations without mail, or people who get it another way. It is valid as long as the
        invitation and works once; another one for the same invitation replaces it.
        """
        invitation = await self._invitations.by_id(invitation_id)
        if invitation is None or invitation.expires_at <= self._clock():
            raise Problem(
                404, "invitation-unknown", "This invitation no longer exists. Reload the list."
            )
        if await self._users.by_email(invitation.email) is not None:
            raise Problem(
                409, "already-user", f"{invitation.email} is a user already and can sign in."
            )
        await self._links.delete_made_for(invitation.email)
        link = self._link_for(invitation)
        self._audit.record(
            "invitation.link",
            user_id=self._admin.user_id,
            actor=self._admin.user_id,
            subject=invitation.email,
        )
        return link, invitation.expires_at

    async def revoke(self, invitation_id: str) -> None:
        invitation = await self._invitations.by_id(invitation_id)
        if invitation is not None:
            await self._links.delete_made_for(invitation.email)
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
