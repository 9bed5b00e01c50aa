"""SQL of people, links and sessions."""

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, delete, exists, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from ocmt_management.auth.models import (
    Installation,
    Invitation,
    Role,
    Session,
    SignInLink,
    Status,
    User,
    WaitingBrowser,
)


class UserRepository:
    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def lock_installation(self) -> None:
        """Hold, until the unit of work ends, all decisions about who is an admin."""
        await self._session.scalar(select(Installation.id).with_for_update())

    async def by_id(self, user_id: str) -> User | None:
        return await self._session.get(User, user_id)

    async def hold(self, user_id: str) -> None:
        """Have whoever else holds this user wait until the unit of work ends."""
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

    async def not_active(self) -> Sequence[User]:
        rows = await self._session.scalars(select(User).where(User.status != Status.ACTIVE))
        return rows.all()

    async def existing(self, user_ids: Collection[str]) -> frozenset[str]:
        rows = await self._session.scalars(select(User.id).where(User.id.in_(user_ids)))
        return frozenset(rows.all())

    async def addresses(self, user_ids: Collection[str]) -> dict[str, str]:
        rows = await self._session.execute(select(User.id, User.email).where(User.id.in_(user_ids)))
        return {user_id: email for user_id, email in rows}

    async def delete(self, user_id: str) -> None:
        """Everything of theirs goes along, by the foreign keys."""
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
        """How many links that were asked for from a browser this address still has."""
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
        """Whether this browser asked for a link to this address while it had enough of them."""
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
        """Use the link up. Of any number at once, exactly one caller gets `True`."""
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
        """Give the link a new code in place of its last; `False` when it had too many."""
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
        """Count one guess against every link this browser waits for.

        Returns `(link id, address, code hash)` of those that may still be guessed at.
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
    """Sessions, always by their own token's hash or within one user."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    def add(self, row: Session) -> None:
        self._session.add(row)

    async def live(
        self, token_hash: bytes, *, now: datetime, used_after: datetime
    ) -> tuple[Session, User] | None:
        """The session of this token and its user, if neither expired, idle nor suspended."""
        row = (
            await self._session.execute(
                select(Session, User)
                .join(User, User.id == Session.user_id)
                .where(
                    Session.token_hash == token_hash,
                    User.status == Status.ACTIVE,
                    *_unexpired(now, used_after),
                )
            )
        ).one_or_none()
        return None if row is None else (row[0], row[1])

    async def touch(self, user_id: str, session_id: str, now: datetime) -> None:
        await self._session.execute(
            update(Session)
            .where(Session.user_id == user_id, Session.id == session_id)
            .values(last_used_at=now)
        )

    async def of_user(
        self, user_id: str, *, now: datetime, used_after: datetime
    ) -> Sequence[Session]:
        rows = await self._session.scalars(
            select(Session)
            .where(Session.user_id == user_id, *_unexpired(now, used_after))
            .order_by(Session.last_used_at.desc())
        )
        return rows.all()

    async def delete(self, user_id: str, session_id: str) -> bool:
        deleted = await self._session.scalars(
            delete(Session)
            .where(Session.user_id == user_id, Session.id == session_id)
            .returning(Session.id)
        )
        return deleted.first() is not None

    async def delete_of_user(self, user_id: str) -> Sequence[str]:
        deleted = await self._session.scalars(
            delete(Session).where(Session.user_id == user_id).returning(Session.id)
        )
        return deleted.all()

    async def delete_expired(
        self, *, now: datetime, used_after: datetime
    ) -> Sequence[tuple[str, str]]:
        """`(session id, user id)` of those that were."""
        deleted = await self._session.execute(
            delete(Session)
            .where((Session.expires_at <= now) | (Session.last_used_at <= used_after))
            .returning(Session.id, Session.user_id)
        )
        return [(session_id, user_id) for session_id, user_id in deleted]


def _unexpired(now: datetime, used_after: datetime) -> tuple[ColumnElement[bool], ...]:
    return (Session.expires_at > now, Session.last_used_at > used_after)
