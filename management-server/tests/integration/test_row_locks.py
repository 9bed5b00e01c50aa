"""A statement that locks a row makes other transactions wait until the lock's transaction ends."""

import asyncio
from collections.abc import Awaitable, Callable

import httpx2
import pytest
from fastapi import FastAPI
from ocmt_management.agents.repository import AgentRepository
from ocmt_management.auth.service import lock_user
from ocmt_management.settings import ManagementSettings
from ocmt_management.vault.repository import VaultRepository
from ocmt_testing.management.people import signed_in_with_agent
from sqlalchemy.ext.asyncio import AsyncSession

SignIn = Callable[[str], Awaitable[httpx2.AsyncClient]]
Lock = Callable[[AsyncSession, str], Awaitable[object]]

LOCKS: dict[str, Lock] = {
    "a user, who may have no agent yet": lock_user,
    "an agent": lambda session, user_id: AgentRepository(session).locked(user_id),
    "a data key": lambda session, user_id: VaultRepository(session).data_key_for_change(user_id),
}


@pytest.fixture
def settings(
    make_settings: Callable[..., ManagementSettings],
    database_url: str,
    its_settings: dict[str, str],
) -> ManagementSettings:
    return make_settings(database_url=database_url, **its_settings)


@pytest.mark.both_databases
@pytest.mark.parametrize("lock", LOCKS.values(), ids=LOCKS.keys())
async def test_a_second_transaction_waits_for_the_first(
    app: FastAPI, sign_in: SignIn, lock: Lock
) -> None:
    browser, user_id = await signed_in_with_agent(app, sign_in)
    assert (await browser.put("/api/secrets/KEY", json={"value": "a value"})).status_code == 200
    order: list[str] = []

    async def second() -> None:
        async with app.state.database.write() as session:
            await lock(session, user_id)
            order.append("second")

    async with app.state.database.write() as session:
        await lock(session, user_id)
        waiting = asyncio.create_task(second())
        await asyncio.wait({waiting}, timeout=0.3)
        order.append("first")
    await waiting

    assert order == ["first", "second"]
