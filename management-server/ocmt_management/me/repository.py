"""SQL of a user's own rows, for the export."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import LargeBinary, Table, select
from sqlalchemy.ext.asyncio import AsyncSession

from ocmt_management.db import Base


def owned_tables() -> Sequence[Table]:
    """The tables with a `user_id`, so that a new one is in the export without a change here."""
    return [table for table in Base.metadata.sorted_tables if "user_id" in table.columns]


class OwnRows:
    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def of(
        self, table: Table, user_id: str, *, limit: int, offset: int
    ) -> Sequence[dict[str, Any]]:
        """Without binary columns: ciphertexts, hashes of tokens, and definitions of tools."""
        columns = [one for one in table.columns if not isinstance(one.type, LargeBinary)]
        rows = await self._session.execute(
            select(*columns)
            .where(table.c.user_id == user_id)
            .order_by(*table.primary_key)
            .limit(limit)
            .offset(offset)
        )
        return [dict(row) for row in rows.mappings()]
