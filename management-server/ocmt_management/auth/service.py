"""Users and sessions, for other domains. The functions run in the caller's transaction."""

from collections.abc import Collection, Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from ocmt_management.audit.service import Audit
from ocmt_management.auth.models import Invitation, Role, Status, User
from ocmt_management.auth.repository import LinkRepository, SessionRepository, UserRepository
from ocmt_management.auth.schemas import UserView
from ocmt_management.auth.sessions import IDLE_LIFE
from ocmt_management.auth.socket_session import SocketSession
from ocmt_management.auth.users import deletable
from ocmt_management.clock import Clock

__all__ = [
    "Invitation",
    "Role",
    "SocketSession",
    "Status",
    "User",
    "UserView",
    "check_deletion",
    "delete_user",
    "email_addresses_of",
    "existing_users",
    "find_by_address",
    "inactive_users",
    "is_active",
    "live_sessions",
    "lock_installation",
    "lock_user",
    "status_of",
]


async def is_active(session: AsyncSession, user_id: str) -> bool:
    """Whether this user exists and is neither suspended nor being deleted.

    An agent's token is valid only for an active user.
    """
    user = await UserRepository(session).by_id(user_id)
    return user is not None and user.status == Status.ACTIVE


async def status_of(session: AsyncSession, user_id: str) -> Status | None:
    user = await UserRepository(session).by_id(user_id)
    return None if user is None else Status(user.status)


async def inactive_users(session: AsyncSession) -> Sequence[User]:
    """The users who are suspended or being deleted."""
    return await UserRepository(session).inactive()


async def existing_users(session: AsyncSession, user_ids: Collection[str]) -> frozenset[str]:
    """Those of `user_ids` that belong to a user."""
    return await UserRepository(session).existing(user_ids)


async def email_addresses_of(session: AsyncSession, user_ids: Collection[str]) -> dict[str, str]:
    """User id → address, for those of `user_ids` that belong to a user."""
    return await UserRepository(session).email_addresses(user_ids)


async def find_by_address(session: AsyncSession, email: str) -> str | None:
    """The id of the user with this address; `None` if there is none."""
    user = await UserRepository(session).by_email(email)
    return None if user is None else user.id


async def live_sessions(session: AsyncSession, user_id: str, *, clock: Clock) -> list[str]:
    """The ids of a user's sessions that have not ended."""
    now = clock()
    rows = await SessionRepository(session).of_user(user_id, now=now, used_after=now - IDLE_LIFE)
    return [row.id for row in rows]


async def lock_installation(session: AsyncSession) -> None:
    """Lock the installation's row until the transaction ends."""
    await UserRepository(session).lock_installation()


async def lock_user(session: AsyncSession, user_id: str) -> None:
    """Lock the user's row until the transaction ends."""
    await UserRepository(session).lock(user_id)


async def check_deletion(session: AsyncSession, user_id: str, *, confirmation: str) -> None:
    """Raise `Problem` if the user may not be deleted; `confirmation` is their address."""
    await deletable(UserRepository(session), user_id, confirmation=confirmation)


async def delete_user(session: AsyncSession, user_id: str, *, clock: Clock) -> None:
    """Delete a user whose status is `deleting` and all their rows; the audit trail stays.

    Does nothing if the user has another status or does not exist.
    """
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
