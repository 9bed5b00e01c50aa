"""An agent's status is what its server reports now, or unknown."""

import asyncio
from collections.abc import Awaitable, Callable

import httpx2
import pytest
from fastapi import FastAPI
from ocmt_management.settings import ManagementSettings
from ocmt_testing.management.agent_server import TOKEN, FakeAgentServer
from ocmt_testing.management.people import agent_is, id_of, signed_in_with_agent

SignIn = Callable[[str], Awaitable[httpx2.AsyncClient]]


@pytest.fixture
def settings(
    make_settings: Callable[..., ManagementSettings], its_settings: dict[str, str]
) -> ManagementSettings:
    return make_settings(**its_settings)


async def test_a_user_without_an_agent_sees_none(
    sign_in: SignIn, agent_server: FakeAgentServer, app: FastAPI
) -> None:
    view = await app.state.agents.view("nobody")

    assert (view.state, view.detail, view.since) == ("none", None, None)


async def test_every_change_is_followed(
    app: FastAPI, sign_in: SignIn, agent_server: FakeAgentServer
) -> None:
    browser, user_id = await signed_in_with_agent(app, sign_in)

    for state in ("paused", "waking", "running", "stopped"):
        agent_server.move(user_id, state)
        await agent_is(app, user_id, state)
        assert (await browser.get("/api/agent")).json()["state"] == state

    agent_server.move(user_id, "failed", failure="The gateway ended by itself.")
    assert (await agent_is(app, user_id, "failed")).detail == "The gateway ended by itself."


async def test_events_about_memory_do_not_change_since_when_an_agent_sleeps(
    app: FastAPI, sign_in: SignIn, agent_server: FakeAgentServer
) -> None:
    _, user_id = await signed_in_with_agent(app, sign_in)
    agent_server.move(user_id, "paused")
    asleep = await agent_is(app, user_id, "paused")
    agent_server.move(user_id, "paused")
    agent_server.move("somebody-else", "running")
    statuses = app.state.agents.statuses
    async with asyncio.timeout(20):
        while statuses.of("somebody-else") is None:  # noqa: ASYNC110 (told after the other)
            await asyncio.sleep(0.01)
    assert (await app.state.agents.view(user_id)).since == asleep.since


async def test_a_full_disk_is_reported_while_it_lasts_and_changes_nothing_else(
    app: FastAPI, sign_in: SignIn, agent_server: FakeAgentServer
) -> None:
    browser = await sign_in("ada@example.com")
    user_id = await id_of(browser)
    running = await agent_is(app, user_id, "running")
    statuses = app.state.agents.statuses

    async def told(state: str, warning: str | None) -> dict[str, object]:
        with statuses.watch(user_id) as changed:
            agent_server.move(user_id, state, warning=warning)
            async with asyncio.timeout(20):
                await changed.wait()
        answer = (await browser.get("/api/agent")).json()
        assert isinstance(answer, dict)
        return answer

    full = "Your agent uses more than the 10 GB that it may have on disk."
    told_running = await told("running", full)
    assert (told_running["state"], told_running["warning"]) == ("running", full)
    view = await app.state.agents.view(user_id)
    assert view.since == running.since
    assert (await told("paused", full))["warning"] == full
    assert (await told("running", None))["warning"] is None


async def test_a_missing_agent_server_leads_to_an_unknown_state(
    app: FastAPI, sign_in: SignIn, agent_server: FakeAgentServer
) -> None:
    browser, user_id = await signed_in_with_agent(app, sign_in)

    agent_server.hang_up()
    await agent_server.server.stop()
    gone = await agent_is(app, user_id, "unreachable")
    assert "does not answer" in (gone.detail or "")
    refused = await browser.post("/api/agent/wake")
    assert (refused.status_code, refused.json()["code"]) == (503, "agent-server-unreachable")
    health = (await browser.get("/health")).json()
    assert (health["status"], health["checks"]["agentServer"]["ok"]) == ("degraded", False)

    agent_server.containers[user_id]["hibernationState"] = "stopped"
    await agent_server.server.start()
    await agent_is(app, user_id, "stopped")


async def test_only_one_stream_is_opened_for_everybody(
    app: FastAPI, sign_in: SignIn, agent_server: FakeAgentServer
) -> None:
    for name in ("ada", "bob", "eve"):
        await agent_is(app, await id_of(await sign_in(f"{name}@example.com")), "running")

    assert len(agent_server.listeners) == 1


async def test_waking_is_passed_on_under_the_requests_id(
    app: FastAPI, sign_in: SignIn, agent_server: FakeAgentServer
) -> None:
    browser, user_id = await signed_in_with_agent(app, sign_in)
    agent_server.move(user_id, "stopped")
    await agent_is(app, user_id, "stopped")

    answer = await browser.post("/api/agent/wake", headers={"x-request-id": "one-story"})
    assert answer.status_code == 202
    await agent_is(app, user_id, "running")

    assert agent_server.woken == [user_id]
    assert agent_server.request_ids[-1] == "one-story"
    assert agent_server.tokens == {TOKEN}


async def test_what_is_wrong_with_the_agent_server_is_in_the_health(
    app: FastAPI, sign_in: SignIn, agent_server: FakeAgentServer
) -> None:
    await agent_server.listening.wait()
    browser = await sign_in("ada@example.com")
    await agent_is(app, await id_of(browser), "running")
    assert (await browser.get("/health")).json()["status"] == "ok"

    agent_server.health = {"status": "degraded", "problems": ["Docker does not answer."]}
    check = (await browser.get("/health")).json()["checks"]["agentServer"]
    assert check == {"ok": False, "detail": "Docker does not answer."}


class TestWithAnotherToken:
    @pytest.fixture
    def settings(
        self, make_settings: Callable[..., ManagementSettings], its_settings: dict[str, str]
    ) -> ManagementSettings:
        return make_settings(**{**its_settings, "agent_auth_token": "not-the-token-" + "7x" * 20})

    async def test_the_log_names_the_settings_that_differ(
        self, app: FastAPI, sign_in: SignIn
    ) -> None:
        browser = await sign_in("ada@example.com")
        agents = app.state.agents
        user_id = await id_of(browser)
        with agents.statuses.watch(user_id) as changed:
            while (view := await agents.view(user_id)).detail is None:
                await changed.wait()
                changed.clear()

        assert view.state == "provisioning"
        assert "AGENT_AUTH_TOKEN" in view.detail
        health = (await browser.get("/health")).json()["checks"]["agentServer"]
        assert "AGENT_AUTH_TOKEN" in health["detail"]


class TestWithSomethingElseThere:
    @pytest.fixture
    def settings(
        self,
        make_settings: Callable[..., ManagementSettings],
        its_settings: dict[str, str],
        mailbox: tuple[int, object],
    ) -> ManagementSettings:
        """AGENT_SERVER_URL points at the mail server."""
        return make_settings(
            **{**its_settings, "agent_server_url": f"http://127.0.0.1:{mailbox[0]}"}
        )

    async def test_that_is_no_agent_server(self, app: FastAPI, sign_in: SignIn) -> None:
        browser = await sign_in("ada@example.com")

        check = (await browser.get("/health")).json()["checks"]["agentServer"]
        assert not check["ok"]
        assert "AGENT_SERVER_URL" in check["detail"]


async def test_a_fault_of_our_own_ends_the_stream_but_not_the_next_one(
    app: FastAPI,
    sign_in: SignIn,
    agent_server: FakeAgentServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, user_id = await signed_in_with_agent(app, sign_in)
    statuses = app.state.agents.statuses
    apply, faults = statuses._apply, [KeyError("a fault"), RuntimeError("another")]

    def faulty(said: object) -> None:
        if faults:
            raise faults.pop()
        apply(said)

    monkeypatch.setattr(statuses, "_apply", faulty)
    agent_server.move(user_id, "stopped")

    await agent_is(app, user_id, "unreachable")
    await agent_is(app, user_id, "stopped")
