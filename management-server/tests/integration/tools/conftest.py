"""Tool servers beside the running management server, and agents that call `/mcp`."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import httpx2
import pytest
from fastapi import FastAPI
from ocmt_management.settings import ManagementSettings
from ocmt_testing.management.agent_server import FakeAgentServer
from ocmt_testing.management.mcp_servers import RealServer, RoughServer
from ocmt_testing.management.people import agent_is, id_of
from ocmt_testing.management.serving import Server
from ocmt_testing.management.tool_user import ToolUser

SignIn = Callable[[str], Awaitable[httpx2.AsyncClient]]


@pytest.fixture
def settings(
    make_settings: Callable[..., ManagementSettings],
    database_url: str,
    its_settings: dict[str, str],
) -> ManagementSettings:
    return make_settings(
        database_url=database_url, private_hosts="127.0.0.1, localhost", **its_settings
    )


@pytest.fixture
async def tool_user(
    app: FastAPI,
    served: Server,
    sign_in: SignIn,
    sign_in_admin: SignIn,
    agent_server: FakeAgentServer,
    seen_secrets: set[str],
) -> AsyncIterator[Callable[[str], Awaitable[ToolUser]]]:
    async with AsyncExitStack() as stack:

        async def make(name: str) -> ToolUser:
            signed_in = sign_in_admin if name == "ada" else sign_in
            browser = await signed_in(f"{name}@example.com")
            user_id = await id_of(browser)
            await agent_is(app, user_id, "running")
            token = dict(agent_server.provisioned)[user_id]
            seen_secrets.add(token)
            agent = httpx2.AsyncClient(
                base_url=served.url,
                headers={"authorization": f"Bearer {token}"},
                trust_env=False,
                timeout=30,
            )
            await stack.enter_async_context(agent)
            return ToolUser(user_id, browser, agent, token)

        yield make


@pytest.fixture
async def ada(tool_user: Callable[[str], Awaitable[ToolUser]]) -> ToolUser:
    """An admin."""
    return await tool_user("ada")


@pytest.fixture
async def bob(tool_user: Callable[[str], Awaitable[ToolUser]]) -> ToolUser:
    return await tool_user("bob")


@pytest.fixture
async def real() -> AsyncIterator[RealServer]:
    async with RealServer().running() as server:
        yield server


@pytest.fixture
async def stateless() -> AsyncIterator[RealServer]:
    async with RealServer(stateless=True).running() as server:
        yield server


@pytest.fixture
async def rough() -> AsyncIterator[RoughServer]:
    async with RoughServer().running() as server:
        yield server
