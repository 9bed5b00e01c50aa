"""What other domains may ask about a person."""

from sqlalchemy.ext.asyncio import AsyncSession

from ocmt_management.auth.models import Status
from ocmt_management.auth.repository import UserRepository


async def is_active(session: AsyncSession, user_id: str) -> bool:
    """Whether this user exists and is not suspended: an agent's token dies with its user."""
    user = await UserRepository(session).by_id(user_id)
    return user is not None and user.status == Status.ACTIVE
