"""Tabs of signed-in users, on a running server with a scripted agent server."""

from collections.abc import AsyncIterator, Awaitable, Callable

import httpx2
import pytest
from fastapi import FastAPI
from ocmt_management.settings import ManagementSettings
from ocmt_testing.management.agent_server import FakeAgentServer
from ocmt_testing.management.gateway import FakeGateway
from ocmt_testing.management.page import Tab
from ocmt_testing.management.people import agent_is, id_of
from ocmt_testing.management.serving import Server

SignIn = Callable[[str], Awaitable[httpx2.AsyncClient]]


@pytest.fixture
def settings(
    make_settings: Callable[..., ManagementSettings], its_settings: dict[str, str]
) -> ManagementSettings:
    return make_settings(**its_settings)


@pytest.fixture
async def open_tab(served: Server) -> AsyncIterator[Callable[[httpx2.AsyncClient], Awaitable[Tab]]]:
    tabs: list[Tab] = []

    async def open_one(browser: httpx2.AsyncClient) -> Tab:
        tabs.append(await Tab.open(browser, served.url))
        return tabs[-1]

    yield open_one
    for tab in tabs:
        await tab.close()


@pytest.fixture
async def ada(app: FastAPI, sign_in_admin: SignIn) -> httpx2.AsyncClient:
    """A browser in which Ada, the admin, is signed in; her agent is ready."""
    browser = await sign_in_admin("ada@example.com")
    await agent_is(app, await id_of(browser), "running")
    return browser


@pytest.fixture
async def gateway(ada: httpx2.AsyncClient, agent_server: FakeAgentServer) -> FakeGateway:
    return agent_server.gateways[await id_of(ada)]


@pytest.fixture
async def tab(ada: httpx2.AsyncClient, open_tab: Callable[..., Awaitable[Tab]]) -> Tab:
    return await open_tab(ada)
