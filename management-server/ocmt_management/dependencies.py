"""FastAPI dependencies of every domain: settings, clock, database and transaction.

The composition root (`app.py`) puts each service on `app.state` before the first request. The
functions here, and those in each domain's own `dependencies.py`, read it from there with its type.
They are coroutines because FastAPI runs plain functions in a thread.
"""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import HTTPConnection, Request

from ocmt_management import clock, db, settings


async def settings_of(connection: HTTPConnection) -> settings.ManagementSettings:
    found: settings.ManagementSettings = connection.app.state.settings
    return found


async def clock_of(connection: HTTPConnection) -> clock.Clock:
    found: clock.Clock = connection.app.state.clock
    return found


async def database_of(connection: HTTPConnection) -> db.Database:
    found: db.Database = connection.app.state.database
    return found


Settings = Annotated[settings.ManagementSettings, Depends(settings_of)]
Clock = Annotated[clock.Clock, Depends(clock_of)]
Database = Annotated[db.Database, Depends(database_of)]


async def _transaction(request: Request, database: Database) -> AsyncIterator[AsyncSession]:
    writes = request.method not in ("GET", "HEAD", "OPTIONS")
    async with database.write() if writes else database.read() as session:
        yield session


Transaction = Annotated[AsyncSession, Depends(_transaction, scope="function")]
"""One transaction per request, committed after the endpoint returns and before the answer is sent.

It is read-only for safe methods (GET, HEAD, OPTIONS). Streaming endpoints and WebSockets open short
transactions of their own on `Database`, so that none stays open while they send.
"""
