"""Signed-in users and the states of their agents, on a running server."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import httpx2
from fastapi import FastAPI
from ocmt_management.agents.schemas import AgentState, AgentView


@dataclass
class Person:
    """A signed-in user, with a client for their browser and one for their agent."""

    id: str
    browser: httpx2.AsyncClient
    agent: httpx2.AsyncClient
    token: str

    async def choose(self, provider: str, model: str, key: str | None) -> None:
        body = {"provider": provider, "model": model} | ({"key": key} if key else {})
        answer = await self.browser.put("/api/model", json=body)
        assert answer.status_code == 200, answer.text


async def id_of(browser: httpx2.AsyncClient) -> str:
    return str((await browser.get("/api/me")).json()["user"]["id"])


async def agent_is(app: FastAPI, user_id: str, *states: str) -> AgentView:
    """Wait until the user's agent has one of these states. Raises `AssertionError` after 60 s."""
    agents = app.state.agents
    wanted = {AgentState(state) for state in states}
    view: AgentView | None = None
    try:
        async with asyncio.timeout(60):
            with agents.statuses.watch(user_id) as changed:
                while True:
                    changed.clear()
                    view = await agents.view(user_id)
                    if view.state in wanted:
                        return view
                    await changed.wait()
    except TimeoutError:
        now = await agents.view(user_id)
        raise AssertionError(f"not {states}, but {view}; read again: {now}") from None


async def signed_in_with_agent(
    app: FastAPI, sign_in: Callable[[str], Awaitable[httpx2.AsyncClient]]
) -> tuple[httpx2.AsyncClient, str]:
    """`(browser, user id)` of the user Ada, once her agent is running."""
    browser = await sign_in("ada@example.com")
    user_id = await id_of(browser)
    await agent_is(app, user_id, "running")
    return browser, user_id


def hash_of(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


async def until(condition: Callable[[], bool]) -> None:
    """Poll until a condition without an event is true. Raises `TimeoutError` after 60 s."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
