"""A real authorization server beside the management server, and people who connect accounts."""

from collections.abc import AsyncIterator, Awaitable, Callable

import httpx2
import pytest
from fastapi import FastAPI
from ocmt_management.settings import ManagementSettings
from ocmt_testing.management.agent_server import FakeAgentServer
from ocmt_testing.management.connecting import Person
from ocmt_testing.management.people import agent_is, id_of
from ocmt_testing.management.serving import Server
from ocmt_testing.management.tool_user import ToolUser
from ocmt_testing.oidc_provider import (
    CLIENT_ID,
    CLIENT_SECRET,
    AuthorizationServer,
    authorization_server,
)

SignIn = Callable[[str], Awaitable[httpx2.AsyncClient]]
CALLBACK = "http://127.0.0.1:3000/api/connections/callback"


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
async def provider(seen_secrets: set[str]) -> AsyncIterator[AuthorizationServer]:
    seen_secrets.add(CLIENT_SECRET)
    async with authorization_server(CALLBACK) as server:
        yield server


@pytest.fixture
async def ada(
    app: FastAPI,
    sign_in_admin: SignIn,
    provider: AuthorizationServer,
    seen_secrets: set[str],
) -> Person:
    """An admin, who has set the provider up."""
    browser = await sign_in_admin("ada@example.com")
    body = {
        "clientId": CLIENT_ID,
        "clientSecret": CLIENT_SECRET,
        "endpoints": await provider.endpoints(),
    }
    answer = await browser.put("/api/admin/integrations/own", json=body)
    assert answer.status_code == 200, answer.text
    return Person(await id_of(browser), browser, provider, seen_secrets)


@pytest.fixture
async def bob(ada: Person, sign_in: SignIn) -> Person:
    browser = await sign_in("bob@example.com")
    return Person(await id_of(browser), browser, ada.provider, ada.secrets)


@pytest.fixture
async def user(
    app: FastAPI, served: Server, ada: Person, agent_server: FakeAgentServer
) -> AsyncIterator[ToolUser]:
    await agent_is(app, ada.id, "running")
    token = dict(agent_server.provisioned)[ada.id]
    ada.secrets.add(token)
    async with httpx2.AsyncClient(
        base_url=served.url,
        headers={"authorization": f"Bearer {token}"},
        trust_env=False,
        timeout=60,
    ) as agent:
        yield ToolUser(ada.id, ada.browser, agent, token)
