"""A model provider beside the running server, and agent tokens to call `/llm` with."""

from collections.abc import AsyncIterator, Awaitable, Callable

import httpx2
import pytest
from fastapi import FastAPI
from ocmt_management.settings import ManagementSettings
from ocmt_testing.management.agent_server import FakeAgentServer
from ocmt_testing.management.people import Person, agent_is, id_of
from ocmt_testing.management.provider import Provider, provider_urls
from ocmt_testing.management.serving import Server, serving

SignIn = Callable[[str], Awaitable[httpx2.AsyncClient]]


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    playing = Provider()
    async with serving(playing.app()) as playing.server:
        yield playing


@pytest.fixture
def settings(
    make_settings: Callable[..., ManagementSettings],
    its_settings: dict[str, str],
    provider: Provider,
) -> ManagementSettings:
    return make_settings(**provider_urls(provider), **its_settings)


@pytest.fixture
async def person(
    app: FastAPI,
    served: Server,
    sign_in: SignIn,
    sign_in_admin: SignIn,
    agent_server: FakeAgentServer,
    seen_secrets: set[str],
) -> AsyncIterator[Callable[[str], Awaitable[Person]]]:
    clients: list[httpx2.AsyncClient] = []

    async def make(name: str) -> Person:
        signed_in = sign_in_admin if name == "ada" else sign_in
        browser = await signed_in(f"{name}@example.com")
        user_id = await id_of(browser)
        await agent_is(app, user_id, "running")
        token = dict(agent_server.provisioned)[user_id]
        seen_secrets.add(token)
        agent = httpx2.AsyncClient(
            base_url=f"{served.url}/llm/v1",
            headers={"authorization": f"Bearer {token}"},
            trust_env=False,
            timeout=60,
        )
        clients.append(agent)
        return Person(user_id, browser, agent, token)

    yield make
    for client in clients:
        await client.aclose()


@pytest.fixture
async def ada(person: Callable[[str], Awaitable[Person]]) -> Person:
    return await person("ada")
