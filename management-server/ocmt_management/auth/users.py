"""People, as an admin keeps them: inviting, suspending, bringing back; and who is active."""

from collections.abc import Collection, Sequence
from datetime import timedelta

from ocmt_common.problems import Problem
from sqlalchemy.ext.asyncio import AsyncSession

from ocmt_management.audit.service import Audit
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
from ocmt_management.mail.service import Outbox
from ocmt_management.settings import ManagementSettings

INVITATION_LIFE = timedelta(days=7)
_MAIL_TRIED_FOR = timedelta(hours=4)


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
        """Begin to delete a user for good: shut out at once, gone once their agent is.

        `confirmation` is their address. The caller shreds their vault in the same unit of work.
        """
        await self._users.lock_installation()
        user = await self._users.by_id(user_id)
        if user is None:
            raise Problem(404, "user-unknown", "There is no such user; list them again.")
        if user.email != confirmation:
            raise Problem(
                409,
                "wrong-confirmation",
                "The address sent is not this user's. Deleting cannot be undone: send the address "
                "of the user to be deleted.",
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
                "This is the last active admin: without one, nobody could undo it.",
            )

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
        after_commit(self._db, lambda: self._outbox.post(mail, within=_MAIL_TRIED_FOR))
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


async def addresses_of(session: AsyncSession, user_ids: Collection[str]) -> dict[str, str]:
    """By id, of those of these users who exist."""
    return await UserRepository(session).addresses(user_ids)


async def find_by_address(session: AsyncSession, email: str) -> str | None:
    """The id of the user with this address."""
    user = await UserRepository(session).by_email(email)
    return None if user is None else user.id


async def status_of(session: AsyncSession, user_id: str) -> Status | None:
    user = await UserRepository(session).by_id(user_id)
    return None if user is None else Status(user.status)


async def not_active(session: AsyncSession) -> Sequence[User]:
    """The users who are suspended or being deleted."""
    return await UserRepository(session).not_active()


async def erase(session: AsyncSession, user_id: str, *, clock: Clock) -> None:
    """Delete a user who is being deleted, with all rows of theirs; the audit trail stays."""
    users = UserRepository(session)
    await users.lock_installation()
    user = await users.by_id(user_id)
    if user is None or user.status != Status.DELETING:
        return
    await LinkRepository(session).delete_for(user.email)
    await users.delete(user_id)
    Audit(session, clock).record(
        "user.deleted", user_id=user_id, actor="server", subject=user.email
    )


async def still_there(session: AsyncSession, user_ids: Collection[str]) -> frozenset[str]:
    """Those of these users who exist."""
    return await UserRepository(session).existing(user_ids)


async def is_active(session: AsyncSession, user_id: str) -> bool:
    """Whether this user exists and is not suspended: an agent's token dies with its user."""
    user = await UserRepository(session).by_id(user_id)
    return user is not None and user.status == Status.ACTIVE
