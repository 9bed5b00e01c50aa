"""SQL of users, links and sessions."""

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, delete, exists, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from ocmt_management.auth.models import (
    Installation,
    Invitation,
    Role,
    SignInLink,
    Status,
    User,
    UserSession,
    WaitingBrowser,
)


class UserRepository:
    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def lock_installation(self) -> None:
        """Lock the installation's row until the transaction ends."""
        await self._session.scalar(select(Installation.id).with_for_update())

    async def by_id(self, user_id: str) -> User | None:
        return await self._session.get(User, user_id)

    async def lock(self, user_id: str) -> None:
        """Lock the user's row (FOR NO KEY UPDATE) until the transaction ends."""
        await self._session.execute(
            select(User.id).where(User.id == user_id).with_for_update(key_share=True)
        )

    async def by_email(self, email: str) -> User | None:
        return await self._session.scalar(select(User).where(User.email == email))

    async def first_admin(self) -> User | None:
        return await self._session.scalar(
            select(User)
            .where(User.role == Role.ADMIN, User.status == Status.ACTIVE)
            .order_by(User.created_at)
            .limit(1)
        )

    async def active_admins(self) -> int:
        return (
            await self._session.scalar(
                select(func.count())
                .select_from(User)
                .where(User.role == Role.ADMIN, User.status == Status.ACTIVE)
            )
            or 0
        )

    async def all(self) -> Sequence[User]:
        return (await self._session.scalars(select(User).order_by(User.created_at))).all()

    async def inactive(self) -> Sequence[User]:
        rows = await self._session.scalars(select(User).where(User.status != Status.ACTIVE))
        return rows.all()

    async def existing(self, user_ids: Collection[str]) -> frozenset[str]:
        rows = await self._session.scalars(select(User.id).where(User.id.in_(user_ids)))
        return frozenset(rows.all())

    async def email_addresses(self, user_ids: Collection[str]) -> dict[str, str]:
        rows = await self._session.execute(select(User.id, User.email).where(User.id.in_(user_ids)))
        return {user_id: email for user_id, email in rows}

    async def prove_mailbox(self, user_id: str, now: datetime) -> bool:
        """Record that the user has proved the mailbox. Only the first call returns `True`."""
        proved = await self._session.scalars(
            update(User)
            .where(User.id == user_id, User.mailbox_proved_at.is_(None))
            .values(mailbox_proved_at=now)
            .returning(User.id)
            .execution_options(synchronize_session=False)
        )
        return proved.first() is not None

    async def delete(self, user_id: str) -> None:
        """Delete the user. Foreign keys delete the user's rows in other tables."""
        await self._session.execute(delete(User).where(User.id == user_id))

    def add(self, user: User) -> None:
        self._session.add(user)


class InvitationRepository:
    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def live(self, email: str, now: datetime) -> Invitation | None:
        return await self._session.scalar(
            select(Invitation).where(Invitation.email == email, Invitation.expires_at > now)
        )

    async def all(self) -> Sequence[Invitation]:
        rows = await self._session.scalars(select(Invitation).order_by(Invitation.created_at))
        return rows.all()

    async def by_id(self, invitation_id: str) -> Invitation | None:
        return await self._session.get(Invitation, invitation_id)

    async def replace(self, invitation: Invitation) -> None:
        await self.delete_for(invitation.email)
        self._session.add(invitation)

    async def delete_for(self, email: str) -> None:
        await self._session.execute(delete(Invitation).where(Invitation.email == email))

    async def delete(self, invitation_id: str) -> bool:
        deleted = await self._session.scalars(
            delete(Invitation).where(Invitation.id == invitation_id).returning(Invitation.id)
        )
        return deleted.first() is not None

    async def delete_before(self, moment: datetime) -> None:
        await self._session.execute(delete(Invitation).where(Invitation.expires_at < moment))


class LinkRepository:
    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    def add(self, link: SignInLink) -> None:
        self._session.add(link)

    async def live(self, token_hash: bytes, now: datetime) -> SignInLink | None:
        return await self._session.scalar(
            select(SignInLink).where(SignInLink.token_hash == token_hash, *_live(now))
        )

    async def mailed(self, email: str, now: datetime) -> int:
        """The number of unused links mailed to this address."""
        return (
            await self._session.scalar(
                select(func.count())
                .select_from(SignInLink)
                .where(
                    SignInLink.email == email, SignInLink.verifier_hash.is_not(None), *_live(now)
                )
            )
            or 0
        )

    def add_waiting(self, browser: WaitingBrowser) -> None:
        self._session.add(browser)

    async def waits(self, verifier_hash: bytes, email: str, now: datetime) -> bool:
        """Whether this browser requested a link while the address had the maximum of them."""
        return bool(
            await self._session.scalar(
                select(
                    exists().where(
                        WaitingBrowser.verifier_hash == verifier_hash,
                        WaitingBrowser.email == email,
                        WaitingBrowser.expires_at > now,
                    )
                )
            )
        )

    async def consume(self, link_id: str, now: datetime) -> bool:
        """Mark the link as used; `False` if it is used or expired. Only one call returns `True`."""
        consumed = await self._session.scalars(
            update(SignInLink)
            .where(SignInLink.id == link_id, *_live(now))
            .values(consumed_at=now)
            .returning(SignInLink.id)
            .execution_options(synchronize_session=False)
        )
        return consumed.first() is not None

    async def show_code(
        self, link_id: str, code_hash: bytes, *, at_most: int, now: datetime
    ) -> bool:
        """Replace the link's code; `False` if the link is used, expired or had `at_most` codes."""
        shown = await self._session.scalars(
            update(SignInLink)
            .where(SignInLink.id == link_id, SignInLink.codes_shown < at_most, *_live(now))
            .values(code_hash=code_hash, codes_shown=SignInLink.codes_shown + 1)
            .returning(SignInLink.id)
            .execution_options(synchronize_session=False)
        )
        return shown.first() is not None

    async def count_attempt(
        self, verifier_hash: bytes, *, at_most: int, now: datetime
    ) -> Sequence[tuple[str, str, bytes]]:
        """Count one guess at the code of every live link with one that this browser requested.

        Returns `(link id, address, code hash)` of the links that had attempts left.
        """
        rows = await self._session.execute(
            update(SignInLink)
            .where(
                SignInLink.verifier_hash == verifier_hash,
                SignInLink.code_hash.is_not(None),
                SignInLink.code_attempts < at_most,
                *_live(now),
            )
            .values(code_attempts=SignInLink.code_attempts + 1)
            .returning(SignInLink.id, SignInLink.email, SignInLink.code_hash)
            .execution_options(synchronize_session=False)
        )
        return [(link_id, email, code_hash) for link_id, email, code_hash in rows if code_hash]

    async def delete_made_for(self, email: str) -> None:
        """Delete the links of this address that an admin or the operator made."""
        await self._session.execute(
            delete(SignInLink).where(SignInLink.email == email, SignInLink.verifier_hash.is_(None))
        )

    async def delete_for(self, email: str) -> None:
        await self._session.execute(delete(SignInLink).where(SignInLink.email == email))
        await self._session.execute(delete(WaitingBrowser).where(WaitingBrowser.email == email))

    async def delete_before(self, moment: datetime) -> None:
        await self._session.execute(delete(SignInLink).where(SignInLink.expires_at < moment))
        await self._session.execute(
            delete(WaitingBrowser).where(WaitingBrowser.expires_at < moment)
        )


def _live(now: datetime) -> tuple[ColumnElement[bool], ...]:
    return (SignInLink.consumed_at.is_(None), SignInLink.expires_at > now)


class SessionRepository:
    """Every query names a token hash or a user, except the deletion of expired sessions."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    def add(self, row: UserSession) -> None:
        self._session.add(row)

    async def live(
        self, token_hash: bytes, *, now: datetime, used_after: datetime
    ) -> tuple[UserSession, User] | None:
        """The session with this token, and its user; `None` if it ended or the user is inactive."""
        row = (
            await self._session.execute(
                select(UserSession, User)
                .join(User, User.id == UserSession.user_id)
                .where(
                    UserSession.token_hash == token_hash,
                    User.status == Status.ACTIVE,
                    *_unexpired(now, used_after),
                )
            )
        ).one_or_none()
        return None if row is None else (row[0], row[1])

    async def touch(self, user_id: str, session_id: str, now: datetime, *, client: str) -> None:
        await self._session.execute(
            update(UserSession)
            .where(UserSession.user_id == user_id, UserSession.id == session_id)
            .values(last_used_at=now, client=client)
        )

    async def of_user(
        self, user_id: str, *, now: datetime, used_after: datetime
    ) -> Sequence[UserSession]:
        rows = await self._session.scalars(
            select(UserSession)
            .where(UserSession.user_id == user_id, *_unexpired(now, used_after))
            .order_by(UserSession.last_used_at.desc())
        )
        return rows.all()

    async def delete(self, user_id: str, session_id: str) -> bool:
        deleted = await self._session.scalars(
            delete(UserSession)
            .where(UserSession.user_id == user_id, UserSession.id == session_id)
            .returning(UserSession.id)
        )
        return deleted.first() is not None

    async def delete_of_user(self, user_id: str) -> Sequence[str]:
        deleted = await self._session.scalars(
            delete(UserSession).where(UserSession.user_id == user_id).returning(UserSession.id)
        )
        return deleted.all()

    async def delete_expired(
        self, *, now: datetime, used_after: datetime
    ) -> Sequence[tuple[str, str]]:
        """Delete expired and idle sessions. Returns `(session id, user id)` of each."""
        deleted = await self._session.execute(
            delete(UserSession)
            .where((UserSession.expires_at <= now) | (UserSession.last_used_at <= used_after))
            .returning(UserSession.id, UserSession.user_id)
        )
        return [(session_id, user_id) for session_id, user_id in deleted]


def _unexpired(now: datetime, used_after: datetime) -> tuple[ColumnElement[bool], ...]:
    return (UserSession.expires_at > now, UserSession.last_used_at > used_after)
