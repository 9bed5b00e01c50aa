"""Every user gets an agent: once, in the background, despite failures, and again when it is
lost."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from ocmt_management.agents.client import AgentServer
from ocmt_management.agents.models import Agent
from ocmt_management.agents.repository import AgentRepository
from ocmt_management.agents.schemas import AgentState
from ocmt_management.agents.service import Agents
from ocmt_management.app import create_app
from ocmt_management.settings import ManagementSettings
from ocmt_testing.management.agent_server import TOKEN as AGENT_SERVER_TOKEN
from ocmt_testing.management.agent_server import FakeAgentServer
from ocmt_testing.management.people import agent_is, hash_of, id_of, signed_in_with_agent, until
from sqlalchemy import select

SignIn = Callable[[str], Awaitable[httpx2.AsyncClient]]


@pytest.fixture
def settings(
    make_settings: Callable[..., ManagementSettings],
    database_url: str,
    its_settings: dict[str, str],
) -> ManagementSettings:
    return make_settings(database_url=database_url, **its_settings)


async def token_hash_in(app: FastAPI, user_id: str) -> bytes:
    async with app.state.database.read() as session:
        stored = await session.scalar(select(Agent.token_hash).where(Agent.user_id == user_id))
    assert isinstance(stored, bytes)
    return stored


async def test_the_first_sign_in_makes_the_agent(
    app: FastAPI, sign_in: SignIn, agent_server: FakeAgentServer
) -> None:
    browser, user_id = await signed_in_with_agent(app, sign_in)

    shown = (await browser.get("/api/agent")).json()
    assert (shown["state"], shown["detail"]) == ("running", None)
    assert [made for made, _ in agent_server.provisioned] == [user_id]


async def test_only_a_hash_of_the_agent_token_is_stored(
    app: FastAPI, sign_in: SignIn, agent_server: FakeAgentServer
) -> None:
    _, user_id = await signed_in_with_agent(app, sign_in)

    token = agent_server.provisioned[0][1]
    assert len(token) == 43
    assert await token_hash_in(app, user_id) == hash_of(token)


async def test_a_ready_agent_is_left_alone(
    app: FastAPI, sign_in: SignIn, agent_server: FakeAgentServer
) -> None:
    browser, _ = await signed_in_with_agent(app, sign_in)

    await sign_in("ada@example.com")
    assert (await browser.post("/api/agent")).status_code == 202
    await asyncio.gather(*app.state.agents._provisioning.values())

    assert len(agent_server.provisioned) == 1


async def test_a_fault_of_our_own_leaves_no_agent_half_made(
    app: FastAPI,
    sign_in: SignIn,
    agent_server: FakeAgentServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    agents = app.state.agents
    provision, faults = agents.server.provision, [KeyError("a fault"), RuntimeError("another")]

    async def faulty(user_id: str, token: str) -> object:
        if faults:
            raise faults.pop()
        return await provision(user_id, token)

    monkeypatch.setattr(agents.server, "provision", faulty)
    monkeypatch.setattr("ocmt_management.agents.service._FIRST_RETRY_S", 0.01)

    await agent_is(app, await id_of(await sign_in("ada@example.com")), "running")
    assert not faults


@pytest.mark.both_databases
async def test_simultaneous_requests_provision_one_agent(
    app: FastAPI, sign_in: SignIn, agent_server: FakeAgentServer
) -> None:
    agent_server.hold = asyncio.Event()
    browser = await sign_in("ada@example.com")
    await asyncio.gather(*(browser.post("/api/agent") for _ in range(5)))
    agent_server.hold.set()
    await agent_is(app, await id_of(browser), "running")

    assert len(agent_server.provisioned) == 1


async def test_provisioning_waits_for_an_agent_server_that_is_away(
    app: FastAPI, sign_in: SignIn, agent_server: FakeAgentServer
) -> None:
    await agent_server.server.stop()
    browser = await sign_in("ada@example.com")
    user_id = await id_of(browser)
    agents = app.state.agents
    with agents.statuses.watch(user_id) as changed:
        while (await agents.view(user_id)).detail is None:
            await changed.wait()
            changed.clear()

    shown = (await browser.get("/api/agent")).json()
    assert shown["state"] == "provisioning"
    assert "AGENT_SERVER_URL" in shown["detail"]

    await agent_server.server.start()
    await agent_is(app, user_id, "running")
    assert len(agent_server.provisioned) == 1


@pytest.mark.both_databases
async def test_a_failure_is_kept_and_shown_until_the_next_attempt(
    app: FastAPI, sign_in: SignIn, agent_server: FakeAgentServer
) -> None:
    agent_server.refusals = [(503, "gateway-exited", "The gateway did not start. Disk full.")]
    browser = await sign_in("ada@example.com")
    user_id = await id_of(browser)

    failed = await agent_is(app, user_id, "failed")
    assert failed.detail == "The gateway did not start. Disk full."
    refused_wake = await browser.post("/api/agent/wake")
    assert (refused_wake.status_code, refused_wake.json()["code"]) == (409, "agent-failed")

    await browser.post("/api/agent")
    assert (await agent_is(app, user_id, "running")).detail is None


async def test_a_restart_goes_on_with_what_was_not_finished(
    settings: ManagementSettings,
    times: dict[str, datetime],
    app: FastAPI,
    sign_in: SignIn,
    agent_server: FakeAgentServer,
) -> None:
    """Also while the earlier server still runs, as when one release takes over from another."""
    agent_server.hold = asyncio.Event()
    user_id = await id_of(await sign_in("ada@example.com"))
    await agent_is(app, user_id, "provisioning")

    restarted = create_app(settings, clock=lambda: times["now"])
    async with restarted.router.lifespan_context(restarted):
        await until(lambda: len(agent_server.held) == 2)
        agent_server.hold.set()
        await agent_is(restarted, user_id, "running")
        assert await token_hash_in(restarted, user_id) == hash_of(agent_server.held[1])
        await agent_is(app, user_id, "running")
        assert [token for _, token in agent_server.provisioned] == agent_server.held

        again = create_app(settings, clock=lambda: times["now"])
        async with again.router.lifespan_context(again):
            await agent_is(again, user_id, "running")
            assert len(agent_server.provisioned) == 2


async def begin_elsewhere(app: FastAPI, user_id: str) -> None:
    """As if another server began to provision the agent and was killed."""
    async with app.state.database.write() as session:
        now = app.state.clock()
        await AgentRepository(session).begin(user_id, b"another server's", now)


@pytest.mark.both_databases
async def test_what_another_server_provisions_is_left_to_it_and_shown_here(
    settings: ManagementSettings,
    app: FastAPI,
    sign_in: SignIn,
    agent_server: FakeAgentServer,
) -> None:
    _, user_id = await signed_in_with_agent(app, sign_in)
    state, waited, looks = app.state, [], asyncio.Semaphore(0)
    await begin_elsewhere(app, user_id)

    async def wait(seconds: float) -> None:
        waited.append(seconds)
        await looks.acquire()

    server = AgentServer(settings.agent_server_url, AGENT_SERVER_TOKEN)
    other = Agents(state.database, server, state.clock, sleep=wait)
    others = agent_server.hold = asyncio.Event()
    async with other.running():
        await until(lambda: len(agent_server.held) == 1)
        ours = agent_server.hold = asyncio.Event()
        state.agents.ensure(user_id)
        await until(lambda: len(agent_server.held) == 2)

        others.set()
        await until(lambda: len(waited) == 1)
        looks.release()
        await until(lambda: len(waited) == 2)  # looked, and waits on

        ours.set()
        await agent_is(app, user_id, "running")
        with other.statuses.watch(user_id) as told:
            looks.release()
            async with asyncio.timeout(20):
                await told.wait()
        assert (await other.view(user_id)).state is AgentState.RUNNING
        assert await token_hash_in(app, user_id) == hash_of(agent_server.held[1])
    assert len(agent_server.held) == 2
    await server.close()


@pytest.mark.both_databases
async def test_what_another_server_began_and_left_is_begun_again_after_a_minute(
    settings: ManagementSettings,
    app: FastAPI,
    sign_in: SignIn,
    agent_server: FakeAgentServer,
) -> None:
    _, user_id = await signed_in_with_agent(app, sign_in)
    state, waited = app.state, []

    async def wait(seconds: float) -> None:
        waited.append(seconds)

    await begin_elsewhere(app, user_id)
    server = AgentServer(settings.agent_server_url, AGENT_SERVER_TOKEN)
    other = Agents(state.database, server, state.clock, sleep=wait)
    agent_server.hold = asyncio.Event()
    async with other.running():
        await until(lambda: len(agent_server.held) == 1)
        await begin_elsewhere(app, user_id)
        agent_server.hold.set()
        await asyncio.gather(*other._provisioning.values())
        assert sum(waited) == 60
        assert (await state.agents.view(user_id)).state is AgentState.RUNNING
        assert await token_hash_in(app, user_id) == hash_of(agent_server.held[1])
    await server.close()


@pytest.mark.both_databases
async def test_a_token_renewed_just_after_provisioning_is_not_lost(
    app: FastAPI, sign_in: SignIn, agent_server: FakeAgentServer
) -> None:
    agent_server.hold = asyncio.Event()
    user_id = await id_of(await sign_in("ada@example.com"))
    await until(lambda: len(agent_server.held) == 1)
    agents = app.state.agents
    finish = agents._finish

    async def renew_after(*args: Any, **kwargs: Any) -> bool:
        settled: bool = await finish(*args, **kwargs)
        agents._finish = finish
        await agents.renew_token(user_id, actor="ada")  # its making is not at its end yet
        return settled

    agents._finish = renew_after
    agent_server.hold.set()
    await until(lambda: len(agent_server.provisioned) == 2)
    await agent_is(app, user_id, "running")
    assert await token_hash_in(app, user_id) == hash_of(agent_server.provisioned[1][1])


@pytest.mark.both_databases
async def test_a_token_renewed_during_provisioning_is_the_one_used(
    app: FastAPI, sign_in: SignIn, agent_server: FakeAgentServer
) -> None:
    agent_server.hold = asyncio.Event()
    user_id = await id_of(await sign_in("ada@example.com"))
    await until(lambda: len(agent_server.held) == 1)
    await app.state.agents.renew_token(user_id, actor="ada")
    # What becomes of the agent under its old token is no failure of the agent.
    agent_server.refusals = [(503, "gateway-exited", "The gateway did not start.")]
    agent_server.hold.set()

    assert (await agent_is(app, user_id, "running", "failed")).state is AgentState.RUNNING
    assert await token_hash_in(app, user_id) == hash_of(agent_server.held[1])
    assert [token for _, token in agent_server.provisioned] == agent_server.held[1:]


async def test_a_lost_agent_is_provisioned_again_with_a_new_token(
    app: FastAPI, sign_in: SignIn, agent_server: FakeAgentServer
) -> None:
    browser, user_id = await signed_in_with_agent(app, sign_in)
    agent_server.forget(user_id)
    agent_server.hold = asyncio.Event()

    assert (await browser.post("/api/agent/wake")).status_code == 202
    await agent_is(app, user_id, "none", "provisioning")
    agent_server.hold.set()
    await agent_is(app, user_id, "running")

    tokens = [token for _, token in agent_server.provisioned]
    assert len(set(tokens)) == 2
    assert await token_hash_in(app, user_id) == hash_of(tokens[1])


async def test_a_suspended_user_gets_no_agent(
    app: FastAPI, sign_in: SignIn, sign_in_admin: SignIn, agent_server: FakeAgentServer
) -> None:
    admin = await sign_in_admin("ada@example.com")
    await agent_is(app, await id_of(admin), "running")
    agent_server.refusals = [(503, "gateway-exited", "No.")]
    bob = await id_of(await sign_in("bob@example.com"))
    await agent_is(app, bob, "failed")
    await admin.patch(f"/api/admin/users/{bob}", json={"status": "suspended"})

    app.state.agents.ensure(bob)
    await asyncio.gather(*app.state.agents._provisioning.values())

    assert bob not in {made for made, _ in agent_server.provisioned}


@pytest.mark.both_databases
async def test_an_admin_sees_all_agents_and_renews_their_tokens(
    app: FastAPI, sign_in: SignIn, sign_in_admin: SignIn, agent_server: FakeAgentServer
) -> None:
    admin, member = await sign_in_admin("ada@example.com"), await sign_in("bob@example.com")
    ada, bob = await id_of(admin), await id_of(member)
    await agent_is(app, ada, "running")
    await agent_is(app, bob, "running")

    rows = {row["userId"]: row for row in (await admin.get("/api/admin/agents")).json()["agents"]}
    assert set(rows) == {ada, bob}
    assert (rows[bob]["state"], rows[bob]["idleMinutes"]) == ("running", 3)
    assert (await member.get("/api/admin/agents")).status_code == 403
    assert (await member.post(f"/api/admin/agents/{ada}/token")).status_code == 403
    assert (await admin.post("/api/admin/agents/nobody/token")).status_code == 404

    old = dict(agent_server.provisioned)[bob]
    renewed = await admin.post(f"/api/admin/agents/{bob}/token")
    assert renewed.status_code == 202
    assert await token_hash_in(app, bob) != hash_of(old)
    await agent_is(app, bob, "running")
    assert await token_hash_in(app, bob) == hash_of(dict(agent_server.provisioned)[bob])


@pytest.mark.both_databases
async def test_several_tabs_may_name_the_agent_at_once(
    app: FastAPI, sign_in: SignIn, agent_server: FakeAgentServer
) -> None:
    browser, _ = await signed_in_with_agent(app, sign_in)
    wanted = [{"name": f"Fox {number}", "face": "🦊"} for number in range(10)]
    answers = await asyncio.gather(
        *(browser.put("/api/agent/identity", json=one) for one in wanted)
    )
    assert {answer.status_code for answer in answers} == {200}
    assert (await browser.get("/api/me")).json()["agent"] in wanted
