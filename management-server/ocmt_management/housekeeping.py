"""Periodic maintenance, at start and hourly: old rows, abandoned reservations, vault keys."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from ocmt_management.audit.service import Audit
from ocmt_management.auth.sessions import delete_expired_sessions
from ocmt_management.auth.sign_in import delete_expired
from ocmt_management.clock import Clock
from ocmt_management.db import Database
from ocmt_management.integrations.service import delete_old_flows, reseal_clients
from ocmt_management.llm.service import settle_abandoned
from ocmt_management.tools.service import delete_old_approvals, delete_old_connection_requests
from ocmt_management.vault.keys import KeyRing
from ocmt_management.vault.rotation import rotate

log = structlog.get_logger(__name__)

_EVERY_S = 3600


async def tidy(database: Database, keys: KeyRing, clock: Clock) -> None:
    """Delete old rows, settle abandoned reservations, and seal again with the vault's first key."""
    async with database.write() as session:
        await delete_expired(session, clock)
        await delete_expired_sessions(session, clock)
        await Audit(session, clock).delete_old()
        await delete_old_approvals(session, clock)
        await delete_old_connection_requests(session, clock)
        await delete_old_flows(session, clock)
    await settle_abandoned(database, clock)
    await rotate(database, keys)
    await reseal_clients(database, keys)


@asynccontextmanager
async def housekeeping(database: Database, keys: KeyRing, clock: Clock) -> AsyncIterator[None]:
    """Run `tidy` at the block's start and hourly. A failure is logged; the next run is a retry."""

    async def keep_tidy() -> None:
        while True:
            try:
                await tidy(database, keys, clock)
            except Exception as error:
                log.error("housekeeping failed", reason=str(error))
            await asyncio.sleep(_EVERY_S)

    task = asyncio.create_task(keep_tidy())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
