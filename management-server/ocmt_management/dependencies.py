"""What a request gets from the running server: its parts, and its unit of work.

`app.py` fills `Parts` once at start; endpoints and sockets reach them through `parts_of` or the
annotated dependencies here, never through globals.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import HTTPConnection, Request

from ocmt_management.agents.reconciler import Reconciler
from ocmt_management.agents.service import Agents
from ocmt_management.audit.throttle import Throttle
from ocmt_management.auth.limits import SignInLimits
from ocmt_management.auth.session_revocations import EndedSessions
from ocmt_management.chat.open_chats import OpenChats
from ocmt_management.clock import Clock
from ocmt_management.db import Database
from ocmt_management.llm.service import Llm
from ocmt_management.mail.service import Outbox
from ocmt_management.settings import ManagementSettings
from ocmt_management.vault.keys import KeyRing


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInUse:
    """Which model answers a user's agent. `demo`: the built-in one, which needs no key."""

    provider: str
    model: str
    demo: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    settings: ManagementSettings
    database: Database
    clock: Clock
    keys: KeyRing
    outbox: Outbox
    limits: SignInLimits
    ended: EndedSessions
    """Tells open sockets that their session was revoked or its user suspended."""
    ensure_agent: Callable[[str], None]
    """Start making sure, in the background, that this user has an agent. Cheap and idempotent."""
    model_of: Callable[[AsyncSession, str], Awaitable[ModelInUse]]
    """The model a user chose, by user id."""
    check_agent_server: Callable[[], Awaitable[None]]
    """Raises `Problem` saying what is wrong with the agent server, and the cure."""
    throttle: Throttle
    agents: Agents
    reconciler: Reconciler
    llm: Llm
    chats: OpenChats


def parts_of(connection: HTTPConnection) -> Parts:
    """The running server's parts, for a request or a WebSocket."""
    parts = connection.app.state.parts
    assert isinstance(parts, Parts)  # noqa: S101 (set by the lifespan, before any request)
    return parts


async def _unit_of_work(request: Request) -> AsyncIterator[AsyncSession]:
    database = parts_of(request).database
    writes = request.method not in ("GET", "HEAD", "OPTIONS")
    async with database.write() if writes else database.read() as session:
        yield session


Server = Annotated[Parts, Depends(parts_of)]
Db = Annotated[AsyncSession, Depends(_unit_of_work, scope="function")]
"""The request's unit of work: committed after the endpoint returned, before the answer is sent.

A safe method gets a reading one. Streaming endpoints and WebSockets take short units from
`parts.database` instead, so that none is held open while bytes flow.
"""
