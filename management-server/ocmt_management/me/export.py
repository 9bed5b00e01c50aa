"""A user's own data, as one JSON document: their rows of every table, a table at a time."""

import json
from collections.abc import AsyncIterator
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Table

from ocmt_management.db import Database
from ocmt_management.me.repository import OwnRows, owned_tables

_BATCH = 500


async def exported(database: Database, *, user_id: str, email: str) -> AsyncIterator[str]:
    """Pieces of the document. No transaction stays open between them."""
    yield '{"user":' + json.dumps({"id": user_id, "email": email})
    for table in owned_tables():
        yield f",{json.dumps(table.name)}:["
        separator = ""
        async for row in _rows(database, table, user_id):
            yield separator + json.dumps(row, default=_text)
            separator = ","
        yield "]"
    yield "}\n"


async def _rows(database: Database, table: Table, user_id: str) -> AsyncIterator[dict[str, Any]]:
    offset = 0
    while True:
        async with database.read() as session:
            batch = await OwnRows(session).of(table, user_id, limit=_BATCH, offset=offset)
        for row in batch:
            # Of what an admin did, the address is the admin's.
            if row.get("actor", user_id) != user_id:
                row.pop("client", None)
            yield row
        if len(batch) < _BATCH:
            return
        offset += _BATCH


def _text(value: object) -> str:
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(f"no text for {type(value).__name__}")
