"""A suspended user's agent stays stopped; a deleted user leaves nothing, whatever fails."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import date

import httpx2
import pytest
from fastapi import FastAPI
from ocmt_management.app import create_app
from ocmt_management.audit.models import AuditEvent
from ocmt_management.auth.sign_in import operator_link
from ocmt_management.llm.models import Usage
from ocmt_management.llm.request_source import Source
from ocmt_management.llm.usage import UsageKey, UsageSum
from ocmt_management.migrations import migrate
from ocmt_management.settings import ManagementSettings
from ocmt_management.tables import Base
from ocmt_testing.management.agent_server import FakeAgentServer
from ocmt_testing.management.people import agent_is, id_of, until
from sqlalchemy import select

SignIn = Callable[[str], Awaitable[httpx2.AsyncClient]]

BOB = "bob@example.com"


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ocmt_management.agents.reconciler._FIRST_RETRY_S", 0.05)


@pytest.fixture
def settings(
    make_settings: Callable[..., ManagementSettings],
    its_settings: dict[str, str],
    database_url: str,
) -> ManagementSettings:
    return make_settings(**its_settings, database_url=database_url)


@pytest.fixture
async def admin(app: FastAPI, sign_in_admin: SignIn) -> httpx2.AsyncClient:
    browser = await sign_in_admin("ada@example.com")
    await agent_is(app, await id_of(browser), "running")
    return browser


@pytest.fixture
async def bob(app: FastAPI, admin: httpx2.AsyncClient, sign_in: SignIn) -> httpx2.AsyncClient:
    browser = await sign_in(BOB)
    await agent_is(app, await id_of(browser), "running")
    return browser


async def set_status(admin: httpx2.AsyncClient, user_id: str, status: str) -> None:
    answer = await admin.patch(f"/api/admin/users/{user_id}", json={"status": status})
    assert answer.status_code == 200, answer.text


async def delete(admin: httpx2.AsyncClient, user_id: str, email: str = BOB) -> httpx2.Response:
    return await admin.post(f"/api/admin/users/{user_id}/deletion", json={"email": email})


async def row_of(admin: httpx2.AsyncClient, user_id: str) -> dict[str, str | None] | None:
    rows = (await admin.get("/api/admin/users")).json()["users"]
    return next((row for row in rows if row["id"] == user_id), None)


async def row_becomes(
    admin: httpx2.AsyncClient,
    user_id: str,
    wanted: Callable[[dict[str, str | None] | None], bool],
) -> None:
    async with asyncio.timeout(20):
        while not wanted(await row_of(admin, user_id)):  # noqa: ASYNC110 (over HTTP, as an admin)
            await asyncio.sleep(0.02)


async def settled(admin: httpx2.AsyncClient, user_id: str) -> None:
    await row_becomes(admin, user_id, lambda row: row is not None and row["pending"] is None)


async def gone(admin: httpx2.AsyncClient, user_id: str) -> None:
    await row_becomes(admin, user_id, lambda row: row is None)


async def test_a_suspended_users_agent_is_stopped_until_they_are_reactivated(
    app: FastAPI,
    admin: httpx2.AsyncClient,
    bob: httpx2.AsyncClient,
    sign_in: SignIn,
    agent_server: FakeAgentServer,
) -> None:
    user_id = await id_of(bob)
    await set_status(admin, user_id, "suspended")
    await settled(admin, user_id)
    assert agent_server.containers[user_id]["hibernationState"] == "stopped"
    assert agent_server.containers[user_id]["disabled"] is True
    app.state.agents.ensure(user_id)
    await asyncio.gather(*app.state.agents._provisioning.values())
    assert agent_server.containers[user_id]["hibernationState"] == "stopped"

    await set_status(admin, user_id, "active")
    await until(lambda: not agent_server.containers[user_id]["disabled"])
    assert agent_server.containers[user_id]["hibernationState"] == "stopped"
    again = await sign_in(BOB)
    assert (await again.post("/api/agent/wake")).status_code == 202
    await agent_is(app, user_id, "running")
    assert [order for order, _ in agent_server.orders] == ["disable", "enable"]


@pytest.mark.parametrize("state", ["running", "failed", "paused"])
async def test_a_late_answer_does_not_hide_what_happened_since(
    app: FastAPI,
    admin: httpx2.AsyncClient,
    bob: httpx2.AsyncClient,
    agent_server: FakeAgentServer,
    state: str,
) -> None:
    user_id = await id_of(bob)
    await set_status(admin, user_id, "suspended")
    await settled(admin, user_id)
    answered = agent_server.orders_held["enable"] = asyncio.Event()
    await set_status(admin, user_id, "active")
    await until(lambda: not agent_server.containers[user_id]["disabled"])
    agent_server.move(user_id, state)
    await agent_is(app, user_id, state)
    answered.set()
    await until(lambda: user_id not in app.state.agents.statuses.disabled())
    assert (await app.state.agents.view(user_id)).state == state


@pytest.mark.parametrize(
    "refusal",
    [
        (503, "runtime-unavailable", "Docker is away."),
        (503, "database-unavailable", "Its disk is full."),
        (405, "http-405", "An older release."),
    ],
)
async def test_what_the_agent_server_cannot_do_yet_is_tried_until_it_can(
    admin: httpx2.AsyncClient,
    bob: httpx2.AsyncClient,
    agent_server: FakeAgentServer,
    refusal: tuple[int, str, str],
) -> None:
    user_id = await id_of(bob)
    agent_server.order_refusals["disable"] = [refusal] * 3
    await set_status(admin, user_id, "suspended")
    row = await row_of(admin, user_id)
    assert row is not None
    assert row["pending"] is not None
    assert row["pending"].startswith("The agent is being stopped.")

    await settled(admin, user_id)
    assert agent_server.containers[user_id]["disabled"] is True
    assert [order for order, _ in agent_server.orders] == ["disable"] * 4


async def test_an_agent_server_that_was_away_gets_the_order_when_it_returns(
    app: FastAPI,
    admin: httpx2.AsyncClient,
    bob: httpx2.AsyncClient,
    agent_server: FakeAgentServer,
) -> None:
    user_id = await id_of(bob)
    await agent_server.server.stop()
    await set_status(admin, user_id, "suspended")
    await row_becomes(
        admin, user_id, lambda row: row is not None and "does not answer" in str(row["pending"])
    )

    await agent_server.server.start()
    await settled(admin, user_id)
    assert agent_server.containers[user_id]["disabled"] is True


async def test_an_agent_server_that_lost_the_order_gets_it_again(
    admin: httpx2.AsyncClient, bob: httpx2.AsyncClient, agent_server: FakeAgentServer
) -> None:
    user_id = await id_of(bob)
    await set_status(admin, user_id, "suspended")
    await settled(admin, user_id)
    agent_server.containers[user_id]["disabled"] = False
    agent_server.move(user_id, "running")
    agent_server.hang_up()  # it restarted, from an older copy

    await until(lambda: bool(agent_server.containers[user_id]["disabled"]))
    assert agent_server.containers[user_id]["hibernationState"] == "stopped"


async def test_a_decision_changed_during_the_order_ends_as_decided_last(
    admin: httpx2.AsyncClient, bob: httpx2.AsyncClient, agent_server: FakeAgentServer
) -> None:
    user_id = await id_of(bob)
    agent_server.orders_held["disable"] = held = asyncio.Event()
    await set_status(admin, user_id, "suspended")
    await until(lambda: ("disable", user_id) in agent_server.orders)
    await set_status(admin, user_id, "active")
    held.set()

    await until(lambda: ("enable", user_id) in agent_server.orders)
    await until(lambda: not agent_server.containers[user_id]["disabled"])


async def everything_of(app: FastAPI, user_id: str, email: str) -> dict[str, int]:
    """Rows that mention this user, by table, without the audit trail."""
    found: dict[str, int] = {}
    async with app.state.database.read() as session:
        for table in Base.metadata.sorted_tables:
            if table.name == "audit_events":
                continue
            for row in await session.execute(table.select()):
                if user_id in row or email in row:
                    found[table.name] = found.get(table.name, 0) + 1
    return found


@pytest.mark.both_databases
async def test_a_deleted_user_leaves_nothing_but_the_audit_trail(
    app: FastAPI,
    admin: httpx2.AsyncClient,
    bob: httpx2.AsyncClient,
    ask_for_link: Callable[[httpx2.AsyncClient, str], Awaitable[str]],
    new_browser: Callable[[], httpx2.AsyncClient],
    agent_server: FakeAgentServer,
) -> None:
    state = app.state
    user_id = await id_of(bob)
    await bob.put("/api/secrets/FOO", json={"value": "bob's own secret"})
    await bob.put("/api/model", json={"provider": "demo", "model": "demo"})
    state.llm.usage.record(usage_of(user_id), UsageSum(requests=1))
    await state.llm.usage.write()
    waiting = new_browser()
    token = await ask_for_link(waiting, BOB)
    before = await everything_of(app, user_id, BOB)
    assert before.keys() >= {
        "users", "sessions", "data_keys", "secrets", "agents", "model_choices", "model_usage",
        "sign_in_links",
    }  # fmt: skip

    answer = await delete(admin, user_id)

    assert answer.status_code == 202
    assert answer.json()["status"] == "deleting"
    assert (await bob.get("/api/me")).status_code == 401
    await gone(admin, user_id)
    assert await everything_of(app, user_id, BOB) == {}
    assert user_id not in agent_server.containers
    assert [order for order, _ in agent_server.orders] == ["disable", "remove"]
    refused = await waiting.post("/api/auth/session", json={"token": token})
    assert refused.json()["code"] == "link-invalid"
    async with state.database.read() as session:
        events = await session.scalars(
            select(AuditEvent).where(AuditEvent.user_id == user_id).order_by(AuditEvent.id)
        )
        trail = [(event.action, event.actor) for event in events]
    assert ("user.deleting", await id_of(admin)) in trail
    assert ("secret.shred", await id_of(admin)) in trail
    assert trail[-1] == ("user.deleted", "server")


async def test_keys_are_shredded_at_once_though_the_agent_server_is_away(
    app: FastAPI,
    admin: httpx2.AsyncClient,
    bob: httpx2.AsyncClient,
    agent_server: FakeAgentServer,
) -> None:
    user_id = await id_of(bob)
    await bob.put("/api/secrets/FOO", json={"value": "bob's own secret"})
    await agent_server.server.stop()

    await delete(admin, user_id)

    found = await everything_of(app, user_id, BOB)
    assert not found.keys() & {"secrets", "data_keys", "sessions"}
    row = await row_of(admin, user_id)
    assert row is not None
    assert "being removed" in str(row["pending"])
    for body in ({"status": "active"}, {"status": "suspended"}):
        back = await admin.patch(f"/api/admin/users/{user_id}", json=body)
        assert back.json()["code"] == "user-deleting"
    await agent_server.server.start()
    await gone(admin, user_id)


@pytest.mark.parametrize("address", ["ada@example.com", "bob@example.org", "nobody@example.com"])
async def test_deleting_needs_the_right_address(
    admin: httpx2.AsyncClient, bob: httpx2.AsyncClient, address: str
) -> None:
    answer = await delete(admin, await id_of(bob), address)

    assert (answer.status_code, answer.json()["code"]) == (409, "wrong-confirmation")
    assert (await bob.get("/api/me")).status_code == 200


async def test_the_last_admin_stays_and_members_delete_nobody(
    admin: httpx2.AsyncClient, bob: httpx2.AsyncClient
) -> None:
    ada = await id_of(admin)
    assert (await delete(admin, ada, "ada@example.com")).json()["code"] == "last-admin"
    assert (await delete(bob, ada, "ada@example.com")).json()["code"] == "not-admin"
    assert (await delete(admin, "nobody")).json()["code"] == "user-unknown"
    odd = await admin.patch(f"/api/admin/users/{ada}", json={"status": "deleting"})
    assert odd.status_code == 422


def usage_of(user_id: str) -> UsageKey:
    return UsageKey(user_id, date(2026, 11, 23), "demo", "demo", Source.CHAT)


@pytest.mark.both_databases
async def test_usage_of_a_deleted_user_does_not_block_that_of_others(
    app: FastAPI, admin: httpx2.AsyncClient
) -> None:
    usage, ada = app.state.llm.usage, await id_of(admin)
    for user_id in ("gone", ada):
        usage.record(usage_of(user_id), UsageSum(requests=1))

    await usage.write()

    async with app.state.database.read() as session:
        assert (await session.scalars(select(Usage.user_id))).all() == [ada]


@pytest.mark.both_databases
async def test_an_agent_that_is_being_made_does_not_come_back_after_the_deletion(
    app: FastAPI, admin: httpx2.AsyncClient, sign_in: SignIn, agent_server: FakeAgentServer
) -> None:
    agent_server.hold = asyncio.Event()
    user_id = await id_of(await sign_in(BOB))
    await until(lambda: bool(agent_server.held))

    await delete(admin, user_id)
    await until(lambda: ("disable", user_id) in agent_server.orders)
    agent_server.hold.set()

    await gone(admin, user_id)
    assert user_id not in agent_server.containers


class TestKilled:
    """The server is killed at every step of the deletion; the next one continues it."""

    @pytest.fixture
    async def start(
        self, settings: ManagementSettings
    ) -> AsyncIterator[Callable[[], Awaitable[FastAPI]]]:
        """Starts a server; starting another one ends the one before."""
        await migrate(settings.database)
        running: list[AsyncExitStack] = []

        async def start() -> FastAPI:
            while running:
                await running.pop().aclose()
            app = create_app(settings)
            running.append(AsyncExitStack())
            await running[-1].enter_async_context(app.router.lifespan_context(app))
            return app

        yield start
        await running.pop().aclose()

    async def person(self, app: FastAPI, email: str) -> httpx2.AsyncClient:
        state = app.state
        async with state.database.write() as session:
            _, link = await operator_link(
                session, settings=state.settings, clock=state.clock, email=email
            )
        browser = httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app), base_url="http://127.0.0.1:3000"
        )
        token = link.partition("#")[2]
        assert (await browser.post("/api/auth/session", json={"token": token})).status_code == 200
        return browser

    @pytest.mark.parametrize(
        ("order", "step"),
        [
            ("suspended", "disable"),
            ("deleted", "disable"),
            ("deleted", "remove"),
            ("deleted", "erase"),
        ],
    )
    async def test_the_next_server_finishes_it(
        self,
        *,
        start: Callable[[], Awaitable[FastAPI]],
        agent_server: FakeAgentServer,
        monkeypatch: pytest.MonkeyPatch,
        order: str,
        step: str,
    ) -> None:
        app = await start()
        admin, bob = await self.person(app, "ada@example.com"), await self.person(app, BOB)
        user_id = await id_of(bob)
        await agent_is(app, user_id, "running")
        cut = asyncio.Event()

        async def never(*_: object, **__: object) -> None:
            cut.set()
            await asyncio.Event().wait()

        with monkeypatch.context() as patched:
            if step == "erase":
                patched.setattr("ocmt_management.agents.reconciler.delete_user", never)
            else:
                patched.setattr(app.state.agents.server, step, never)
            if order == "suspended":
                await set_status(admin, user_id, "suspended")
            else:
                await delete(admin, user_id)
            await cut.wait()
            app = await start()
        if order == "suspended":
            await until(lambda: bool(agent_server.containers[user_id]["disabled"]))
            return
        admin = await self.person(app, "ada@example.com")
        await gone(admin, user_id)
        assert user_id not in agent_server.containers
        assert await everything_of(app, user_id, BOB) == {}
