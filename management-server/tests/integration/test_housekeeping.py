"""Housekeeping deletes what has expired and keeps the rest."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import httpx2
import pytest
from fastapi import FastAPI
from ocmt_management.audit.models import AuditEvent
from ocmt_management.audit.service import KEPT_FOR
from ocmt_management.auth.models import Invitation, SignInLink, User, UserSession
from ocmt_management.housekeeping import tidy
from sqlalchemy import func, select

SignIn = Callable[[str], Awaitable[httpx2.AsyncClient]]


async def counts(app: FastAPI) -> dict[str, int]:
    async with app.state.database.read() as session:
        return {
            table.__tablename__: await session.scalar(select(func.count()).select_from(table))
            for table in (User, UserSession, SignInLink, Invitation, AuditEvent)
        }


@pytest.mark.both_databases
async def test_expired_rows_are_deleted_and_others_kept(
    app: FastAPI, sign_in_admin: SignIn, advance: Callable[[timedelta], None]
) -> None:
    state = app.state
    admin = await sign_in_admin("ada@example.com")
    await admin.post("/api/admin/invitations", json={"email": "bob@elsewhere.org"})

    async def tidied() -> dict[str, int]:
        await tidy(state.database, state.vault_keys, state.clock)
        return await counts(app)

    # The link that ada used, and the one in bob's mail, which lasts as long as his invitation.
    everything = {"users": 1, "sessions": 1, "sign_in_links": 2, "invitations": 1}
    assert await tidied() == everything | {"audit_events": 5}
    advance(timedelta(minutes=11))
    assert await tidied() == everything | {"sign_in_links": 1, "audit_events": 5}
    advance(timedelta(days=7))
    left = await tidied()
    assert (left["invitations"], left["sign_in_links"]) == (0, 0)
    advance(timedelta(days=7))
    assert (await tidied())["sessions"] == 0
    advance(KEPT_FOR + timedelta(seconds=1))
    assert await tidied() == dict.fromkeys(everything, 0) | {"users": 1, "audit_events": 0}
