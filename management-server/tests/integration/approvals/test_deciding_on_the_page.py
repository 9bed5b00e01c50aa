"""Decisions through the whole server: the page's socket and API, rules, and the agent's gateway."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from fastapi import FastAPI
from ocmt_management.settings import ManagementSettings
from ocmt_management.tools.approvals import Approvals
from ocmt_management.tools.calls import ToolCall
from ocmt_management.tools.models import ToolAccount, ToolDefinition, ToolRule, ToolServer
from ocmt_testing.management.agent_server import FakeAgentServer
from ocmt_testing.management.page import Tab
from ocmt_testing.management.people import agent_is, id_of, until
from ocmt_testing.management.push_service import Device, running_push_service
from ocmt_testing.management.serving import Server
from sqlalchemy import select, update

SignIn = Callable[[str], Awaitable[httpx2.AsyncClient]]
OpenTab = Callable[[httpx2.AsyncClient], Awaitable[Tab]]

PIN = b"p" * 32
RESULT = b'{"content":[{"type":"text","text":"sent to bob"}]}'


class Ada:
    """A signed-in user whose agent may call one tool, if she allows it."""

    def __init__(self, app: FastAPI, browser: httpx2.AsyncClient, user_id: str) -> None:
        self.browser = browser
        self.id = user_id
        self.app = app
        self.server_id = str(uuid4())
        self.approvals: Approvals = app.state.approvals
        self.ran: list[ToolCall] = []

    async def connect(self) -> None:
        now = self.app.state.clock()
        definition = b'{"name":"send","inputSchema":{"type":"object"}}'
        async with self.app.state.database.write() as session:
            session.add(
                ToolServer(
                    id=self.server_id, owner_id=self.id, slug="mail", name="Mail",
                    transport="http", url="https://mail.example.com", enabled=True, version=1,
                    created_at=now, updated_at=now,
                )
            )  # fmt: skip
            await session.flush()
            account = ToolAccount(
                user_id=self.id, server_id=self.server_id, version=7, state="ok", created_at=now
            )
            tool = ToolDefinition(
                user_id=self.id, server_id=self.server_id, name="send", public_name="mail__send",
                definition=definition, pin=PIN, accepted_definition=definition, accepted_pin=PIN,
                state="ok", seen_at=now,
            )  # fmt: skip
            session.add_all([account, tool])

    async def calls(self, arguments: bytes = b'{"to":"bob"}') -> bytes:
        """Her agent calls the tool. Returns what it gets."""
        standing = await self.app.state.tools.standing(self.id, self.server_id, "send")
        call = ToolCall(
            user_id=self.id, server_id=self.server_id, tool="send", arguments=arguments, pin=PIN
        )
        return await self.approvals.hold(
            call,
            rules_version=standing.rules_version,
            account_version=standing.account_version,
            request=b"r" * 32,
        )

    async def decides(self, approval: dict[str, Any], decision: str) -> httpx2.Response:
        body = {"decision": decision, "version": approval["version"]}
        return await self.browser.post(f"/api/approvals/{approval['id']}/decision", json=body)


@pytest.fixture
def settings(
    make_settings: Callable[..., ManagementSettings],
    its_settings: dict[str, str],
    database_url: str,
) -> ManagementSettings:
    return make_settings(**its_settings, database_url=database_url, private_hosts="127.0.0.1")


@pytest.fixture
async def ada(app: FastAPI, sign_in: SignIn, monkeypatch: pytest.MonkeyPatch) -> Ada:
    browser = await sign_in("ada@example.com")
    made = Ada(app, browser, await id_of(browser))
    await agent_is(app, made.id, "running")
    await made.connect()

    async def run(call: ToolCall) -> bytes:
        made.ran.append(call)
        return RESULT

    monkeypatch.setattr(app.state.tools.calls, "run", run)
    return made


@pytest.fixture
async def open_tab(served: Server) -> AsyncIterator[OpenTab]:
    tabs: list[Tab] = []

    async def open_one(browser: httpx2.AsyncClient) -> Tab:
        tabs.append(await Tab.open(browser, served.url))
        return tabs[-1]

    yield open_one
    for tab in tabs:
        await tab.close()


async def asked(tab: Tab, state: str = "waiting") -> dict[str, Any]:
    """The next frame about an approval in this state."""
    frame = await tab.find(
        lambda frame: frame["type"] == "approval" and frame["approval"]["state"] == state
    )
    approval: dict[str, Any] = frame["approval"]
    return approval


async def test_a_call_that_waits_is_told_to_the_persons_devices_once_without_its_content(
    app: FastAPI, ada: Ada, tmp_path: Path
) -> None:
    async with running_push_service(tmp_path) as service:
        device = Device(service.server.url)
        body = device.subscription()
        await ada.browser.put("/api/notifications/subscription", json=body)
        held = [asyncio.create_task(ada.calls()) for _ in range(2)]  # the agent repeats it
        await until(lambda: ada.approvals._holders.total() == 2)
        pushed = await asyncio.wait_for(service.pushed.get(), 60)
        assert device.read(pushed.body) == {"kind": "decision", "number": 1}
        assert pushed.headers["urgency"] == "high"
        [shown] = (await ada.browser.get("/api/approvals")).json()["approvals"]
        await ada.decides(shown, "no")
        await asyncio.gather(*held)
        await app.state.notifications.sent()
        assert service.pushed.empty()


@pytest.mark.both_databases
async def test_a_call_shows_in_every_tab_at_once_and_is_decided_in_one(
    ada: Ada, open_tab: OpenTab
) -> None:
    one, two = await open_tab(ada.browser), await open_tab(ada.browser)

    held = asyncio.create_task(ada.calls())
    shown = await asked(one)
    answer = await ada.decides(shown, "once")

    assert (shown["server"], shown["tool"]) == ("Mail", "send")
    assert json.loads(shown["arguments"]) == {"to": "bob"}
    assert (await asked(two)) == shown
    assert (answer.status_code, answer.json()["state"]) == (200, "approved")
    assert await held == RESULT
    assert (await asked(two, "done"))["decision"] == "once"
    assert len(ada.ran) == 1
    late = await open_tab(ada.browser)
    listed = (await ada.browser.get("/api/approvals")).json()["approvals"]
    assert [a["state"] for a in listed] == ["done"]
    await late.gets("status")
    assert not [frame for frame in late.frames if frame["type"] == "approval"]


@pytest.mark.both_databases
async def test_a_decision_hours_later_wakes_the_agent_and_its_answer_reaches_the_page(
    ada: Ada, agent_server: FakeAgentServer, open_tab: OpenTab
) -> None:
    ada.approvals._hold_s = 0
    told = json.loads(await ada.calls())["content"][0]["text"]
    agent_server.move(ada.id, "paused")
    tab = await open_tab(ada.browser)  # opened later: the call still waits
    gateway = agent_server.gateways[ada.id]
    await tab.send(type="history")
    await tab.gets("history")

    await ada.decides(await asked(tab), "once")
    done = await asked(tab, "done")
    async with asyncio.timeout(10):
        while not gateway.runs:
            await gateway.requests.get()
    (run_id,) = gateway.runs
    await gateway.say(run_id, "I have sent it to Bob.")
    await gateway.finish(run_id)

    assert "number 1" in told
    assert run_id == f"approval:{done['id']}:done"
    (message,) = [row["content"] for row in gateway.rows if row["role"] == "user"]
    assert "sent to bob" in message
    assert (await tab.gets("final", runId=run_id))["message"]["text"] == "I have sent it to Bob."
    await tab.send(type="history")
    history = await tab.find(lambda frame: frame["type"] == "history" and frame["messages"])
    assert [m["role"] for m in history["messages"]] == ["assistant"]
    assert len(ada.ran) == 1


async def test_always_sets_the_users_own_rule_for_this_definition(ada: Ada) -> None:
    ada.approvals._hold_s = 0
    await ada.calls()
    (shown,) = (await ada.browser.get("/api/approvals")).json()["approvals"]
    assert shown["alwaysRefused"] is None

    assert (await ada.decides(shown, "always")).status_code == 200

    async with ada.app.state.database.read() as session:
        (rule,) = (await session.scalars(select(ToolRule))).all()
    assert (rule.user_id, rule.tool, rule.rule, rule.pin) == (ada.id, "send", "allow", PIN)
    standing = await ada.app.state.tools.standing(ada.id, ada.server_id, "send")
    assert standing.rule == "allow"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (update(ToolAccount).values(version=8), "approval-changed"),
        (update(ToolDefinition).values(pin=b"q" * 32, accepted_pin=b"q" * 32), "approval-changed"),
        (update(ToolDefinition).values(state="changed"), "approval-refused"),
        (update(ToolServer).values(enabled=False), "approval-refused"),
        (update(ToolServer).values(version=2), "approval-changed"),
    ],
)
async def test_a_decision_about_what_has_changed_is_refused(
    ada: Ada, change: Any, code: str
) -> None:
    ada.approvals._hold_s = 0
    await ada.calls()
    (shown,) = (await ada.browser.get("/api/approvals")).json()["approvals"]
    async with ada.app.state.database.write() as session:
        await session.execute(change)

    answer = await ada.decides(shown, "once")

    assert (answer.status_code, answer.json()["code"]) == (409, code)
    assert ada.ran == []


@pytest.mark.parametrize(
    ("tool", "rule", "state", "reason"),
    [
        ("", "ask", "ok", "admin-rule"),
        ("send", "ask", "ok", "admin-rule"),
        ("", "allow", "new", "new-tool"),
    ],
)
async def test_always_is_neither_offered_nor_taken_where_it_would_not_hold(
    ada: Ada, tool: str, rule: str, state: str, reason: str
) -> None:
    ada.approvals._hold_s = 0
    async with ada.app.state.database.write() as session:
        session.add(ToolRule(user_id=None, server_id=ada.server_id, tool=tool, rule=rule))
        await session.execute(update(ToolDefinition).values(state=state))
    await ada.calls()
    (shown,) = (await ada.browser.get("/api/approvals")).json()["approvals"]
    assert shown["alwaysRefused"] == reason

    refused = await ada.decides(shown, "always")

    assert (refused.status_code, refused.json()["code"]) == (409, "approval-always-refused")
    async with ada.app.state.database.read() as session:
        rules = (await session.scalars(select(ToolRule.user_id))).all()
    assert rules == [None]
    once = await ada.decides(shown, "once")
    assert (once.status_code, once.json()["alwaysRefused"]) == (200, None)


async def test_bad_decisions_are_refused(ada: Ada, sign_in: SignIn) -> None:
    ada.approvals._hold_s = 0
    await ada.calls()
    (shown,) = (await ada.browser.get("/api/approvals")).json()["approvals"]
    bob = await sign_in("bob@example.com")
    path = f"/api/approvals/{shown['id']}/decision"

    for body in ({}, {"decision": "once"}, {"decision": "maybe", "version": 1}, {"version": 1}):
        assert (await ada.browser.post(path, json=body)).status_code == 422
    body = {"decision": "once", "version": 1}
    assert (await bob.post(path, json=body)).json()["code"] == "approval-unknown"
    unknown = f"/api/approvals/{uuid4()}/decision"
    assert (await ada.browser.post(unknown, json=body)).json()["code"] == "approval-unknown"
    stale = await ada.browser.post(path, json=body | {"version": 2})
    assert stale.json()["code"] == "approval-changed"
    assert (await bob.get("/api/approvals")).json() == {"approvals": []}
    assert ada.ran == []


async def test_the_built_in_tools_tell_what_is_connected_and_what_became_of_a_call(
    ada: Ada,
) -> None:
    async def use(name: str, **arguments: Any) -> tuple[str, bool]:
        built_in = ada.app.state.tools.built_in
        assert built_in.has(f"ocmt_{name}")
        result = await built_in.call(ada.id, f"ocmt_{name}", json.dumps(arguments).encode())
        read = json.loads(result)
        return read["content"][0]["text"], read.get("isError", False)

    ada.approvals._hold_s = 0
    await ada.calls()

    listed, _ = await use("list_tool_servers")
    assert "Mail: connected, 1 tools." in listed
    assert "number 1 (send of Mail): waiting" in listed
    assert (await use("link_for_person", to="decide"))[0].endswith("/tools?decisions")
    assert (await use("link_for_person", to="connect"))[0].endswith("/tools")
    assert "waits" in (await use("decision_result", number=1))[0]
    (shown,) = (await ada.browser.get("/api/approvals")).json()["approvals"]
    await ada.decides(shown, "no")
    assert "said no" in (await use("decision_result", number=1))[0]
    for wrong in ({"number": 2}, {"number": 2**40}, {"number": True}, {"number": "1"}, {}):
        assert (await use("decision_result", **wrong))[1]
    assert (await use("link_for_person", to="http://evil"))[1]
    definitions = json.loads(b"[" + ada.app.state.tools.built_in.definitions + b"]")
    assert len(definitions) == 5
    assert all(len(one["name"]) <= 58 for one in definitions)
