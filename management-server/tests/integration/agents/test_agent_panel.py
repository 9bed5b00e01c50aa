"""The panel of one's own agent, against a real agent server whose containers are doubles."""

from collections.abc import AsyncIterator, Awaitable, Callable
from email.message import EmailMessage
from pathlib import Path

import httpx2
import pytest
from fastapi import FastAPI
from ocmt_agent.app import create_app as agent_app
from ocmt_agent.gateway.admin import Busy
from ocmt_common.agent_api import HibernationState as S
from ocmt_common.agent_api import Job, JobKind
from ocmt_management.settings import ManagementSettings
from ocmt_testing.agent_server.fake_runtime import FakeRuntime
from ocmt_testing.agent_server.host import TOKEN, Host, open_host
from ocmt_testing.management.people import agent_is, id_of, until
from ocmt_testing.management.serving import Server, serving

SignIn = Callable[[str], Awaitable[httpx2.AsyncClient]]
NO_TIMES = {"idleMinutes": None, "officeHours": None, "heartbeatMinutes": None}


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    runtime = FakeRuntime()
    runtime.root = tmp_path / "agents"
    async with open_host(tmp_path, runtime=runtime) as running:
        yield running


@pytest.fixture
async def agents(host: Host) -> AsyncIterator[Server]:
    async with serving(agent_app(host.parts)) as server:
        yield server
        host.parts.hub.close()  # the streams of events end


@pytest.fixture
def settings(
    make_settings: Callable[..., ManagementSettings],
    agents: Server,
    mailbox: tuple[int, list[EmailMessage]],
) -> ManagementSettings:
    return make_settings(
        agent_server_url=agents.url,
        agent_auth_token=TOKEN,
        smtp_host="127.0.0.1",
        smtp_port=str(mailbox[0]),
        smtp_from="ocmt@example.com",
        smtp_tls="none",
        allowed_domains="example.com",
        own_awake_hours_max="40",
    )


async def person(
    app: FastAPI, sign_in: SignIn, name: str = "ada"
) -> tuple[httpx2.AsyncClient, str]:
    browser = await sign_in(f"{name}@example.com")
    user_id = await id_of(browser)
    await agent_is(app, user_id, "running")
    return browser, user_id


def give_job(host: Host, user_id: str) -> None:
    host.gateway.all_jobs[user_id]["news"] = Job(
        id="news", name="News", kind=JobKind.TURN, task="Tell it", enabled=True, editable=True
    )


async def test_the_panel_shows_why_and_wakes_nothing(
    app: FastAPI, sign_in: SignIn, host: Host
) -> None:
    browser, user_id = await person(app, sign_in)
    await host.orders.hibernate(user_id, "pause")
    await agent_is(app, user_id, "paused")

    panel = (await browser.get("/api/agent/panel")).json()

    assert panel["state"] == "paused"
    assert [(e["toState"], e["who"]) for e in panel["events"]][-1] == ("paused", "operator")
    assert panel["times"] == NO_TIMES | {
        "neverSleeps": False,
        "bounds": {"idleMinutesMax": 120, "awakeHoursMax": 40, "heartbeatMinutesMin": 30},
    }
    for path in ("files", "log", "jobs"):
        await browser.get(f"/api/agent/{path}")
    assert host.state(user_id) is S.PAUSED
    jobs = await browser.get("/api/agent/jobs")
    assert (jobs.status_code, jobs.json()["code"]) == (409, "agent-asleep")
    assert jobs.json()["detail"] == "Your agent is asleep. Wake it first."


async def test_times_and_a_heartbeat_are_set_within_the_operators_bounds(
    app: FastAPI, sign_in: SignIn, host: Host
) -> None:
    browser, user_id = await person(app, sign_in)
    hours = {"timeZone": "Europe/Berlin", "days": ["mon", "fri"], "from": "09:00", "to": "17:00"}
    times = {"idleMinutes": 15, "officeHours": hours, "heartbeatMinutes": 60}

    answer = await browser.put("/api/agent/times", json=times)

    assert answer.status_code == 200, answer.text
    assert {name: answer.json()[name] for name in times} == times
    policy = host.parts.registry.get(user_id).policy
    assert (policy.pause_after_ms, policy.heartbeat_minutes) == (900_000, 60)
    assert host.runtime.heartbeats[user_id] == 60
    refused = await browser.put("/api/agent/times", json=times | {"heartbeatMinutes": 10})
    assert (refused.status_code, refused.json()["code"]) == (422, "times-out-of-bounds")
    assert (await browser.get("/api/agent/panel")).json()["times"]["heartbeatMinutes"] == 60


@pytest.mark.parametrize(
    "change",
    [
        {"idleMinutes": 0},
        {"idleMinutes": "soon"},
        {"neverSleep": True},
        {"officeHours": {"timeZone": "Mars/X", "days": ["mon"], "from": "1", "to": "2"}},
        {"heartbeatMinutes": -5},
    ],
)
async def test_times_that_are_none_are_refused(
    app: FastAPI, sign_in: SignIn, host: Host, change: dict[str, object]
) -> None:
    browser, user_id = await person(app, sign_in)
    answer = await browser.put("/api/agent/times", json=NO_TIMES | change)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-request")
    assert host.parts.registry.get(user_id).policy.never_sleep is False


async def test_jobs_are_run_paused_and_deleted_and_only_ones_own(
    app: FastAPI, sign_in: SignIn, host: Host
) -> None:
    ada, ada_id = await person(app, sign_in)
    bob, _ = await person(app, sign_in, "bob")
    give_job(host, ada_id)

    assert [job["id"] for job in (await ada.get("/api/agent/jobs")).json()["jobs"]] == ["news"]
    assert (await bob.get("/api/agent/jobs")).json()["jobs"] == []
    foreign = await bob.post("/api/agent/jobs/news/run")
    assert (foreign.status_code, foreign.json()["code"]) == (404, "no-such-job")
    assert (await ada.post("/api/agent/jobs/news/run")).status_code == 202
    assert (await ada.patch("/api/agent/jobs/news", json={"enabled": False})).status_code == 204
    assert host.gateway.all_jobs[ada_id]["news"].enabled is False
    assert (await ada.delete("/api/agent/jobs/news")).status_code == 204
    assert host.gateway.jobs_run == [(ada_id, "news")]


async def test_files_are_saved_and_uploaded_and_only_ones_own(
    app: FastAPI, sign_in: SignIn, host: Host
) -> None:
    ada, ada_id = await person(app, sign_in)
    bob, bob_id = await person(app, sign_in, "bob")
    for user_id in (ada_id, bob_id):
        (host.runtime.home(user_id) / "state" / "workspace").mkdir(parents=True)
    path = {"path": '<b>"ü".html'}
    body = b"<script>alert(1)</script>" * 10_000

    put = await ada.put("/api/agent/files/content", params=path, content=body)
    got = await ada.get("/api/agent/files/content", params=path)

    assert put.status_code == 204, put.text
    assert got.content == body
    assert got.headers["content-type"] == "application/octet-stream"
    assert got.headers["x-content-type-options"] == "nosniff"
    assert got.headers["content-disposition"] == (
        "attachment; filename*=UTF-8''%3Cb%3E%22%C3%BC%22.html"
    )
    assert (await bob.get("/api/agent/files")).json()["entries"] == []
    for odd in (path["path"], f"../../../{ada_id}/state/workspace/{path['path']}", "/etc/passwd"):
        foreign = await bob.get("/api/agent/files/content", params={"path": odd})
        assert foreign.status_code in (404, 422)
        assert "script" not in foreign.text


async def test_the_agent_has_the_name_and_the_face_that_its_user_gave_it(
    app: FastAPI, sign_in: SignIn, host: Host
) -> None:
    ada, ada_id = await person(app, sign_in)
    bob, _ = await person(app, sign_in, "bob")
    workspace = host.runtime.home(ada_id) / "state" / "workspace"
    workspace.mkdir(parents=True)
    (workspace / "IDENTITY.md").write_text("# Me\n\n- **Name:**\n  _(pick)_\n- **Vibe:** calm\n")
    wanted = {"name": "Fuchs", "face": "🦊"}

    assert (await ada.get("/api/me")).json()["agent"] == {"name": "", "face": ""}
    put = await ada.put("/api/agent/identity", json=wanted)
    assert (put.status_code, put.json()) == (200, wanted)
    assert (await ada.get("/api/me")).json()["agent"] == wanted
    assert (await bob.get("/api/me")).json()["agent"] == {"name": "", "face": ""}
    assert (workspace / "IDENTITY.md").read_text() == (
        "# Me\n\n- **Name:** Fuchs\n- **Vibe:** calm\n\n- **Emoji:** 🦊\n"
    )

    # An agent that cannot be told keeps its name on the page.
    assert (await bob.put("/api/agent/identity", json=wanted)).status_code == 200
    odd = await ada.put("/api/agent/identity", json={"name": "A", "face": "<b>"})
    assert odd.status_code == 422
    exported = (await ada.get("/api/account/export")).json()
    assert [row["name"] for row in exported["agent_identities"]] == ["Fuchs"]
    gone = {"name": "", "face": ""}
    assert (await ada.put("/api/agent/identity", json=gone)).json() == gone


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_upload_without_end_is_refused(
    app: FastAPI, sign_in: SignIn, host: Host, streamed: bool
) -> None:
    browser, user_id = await person(app, sign_in)
    (host.runtime.home(user_id) / "state" / "workspace").mkdir(parents=True)
    piece = b"x" * 1_000_000

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(17):
            yield piece

    answer = await browser.put(
        "/api/agent/files/content",
        params={"path": "x"},
        content=pieces() if streamed else piece * 17,
    )
    assert (answer.status_code, answer.json()["code"]) == (413, "body-too-large")
    assert (await browser.get("/api/agent/files")).json()["entries"] == []


async def test_a_restart_is_begun_and_in_the_audit_trail(
    app: FastAPI, sign_in: SignIn, host: Host, sign_in_admin: SignIn
) -> None:
    admin = await sign_in_admin("admin@example.com")
    browser, user_id = await person(app, sign_in)
    boots = host.runtime.containers[user_id].boot
    host.runtime.log_text = "listening"

    assert (await browser.post("/api/agent/restart")).status_code == 202

    await until(lambda: host.runtime.containers[user_id].boot > boots)
    await agent_is(app, user_id, "running")
    assert "listening" in (await browser.get("/api/agent/log")).json()["text"]
    events = (await admin.get("/api/admin/audit", params={"user": user_id})).json()["events"]
    assert "agent.restart" in {event["action"] for event in events}


async def test_without_its_server_the_panel_says_so(
    app: FastAPI, sign_in: SignIn, host: Host, agents: Server
) -> None:
    browser, user_id = await person(app, sign_in)
    host.parts.hub.close()
    await agents.stop()
    await agent_is(app, user_id, "unreachable")
    panel = (await browser.get("/api/agent/panel")).json()
    assert (panel["state"], panel["times"], panel["events"]) == ("unreachable", None, [])
    log = await browser.get("/api/agent/log")
    assert (log.status_code, log.json()["code"]) == (503, "agent-server-unreachable")


async def test_an_admin_orders_agents_and_sees_their_figures_and_the_host(
    app: FastAPI, sign_in: SignIn, host: Host, sign_in_admin: SignIn
) -> None:
    admin = await sign_in_admin("admin@example.com")
    ada, user_id = await person(app, sign_in)
    url = f"/api/admin/agents/{user_id}/order"

    assert (await ada.post(url, json={"order": "stop"})).status_code == 403
    for order, state in (("pause", "paused"), ("stop", "stopped"), ("wake", "running")):
        answer = await admin.post(url, json={"order": order})
        assert answer.status_code == 202, answer.text
        await agent_is(app, user_id, state)
    boot = host.runtime.containers[user_id].boot
    assert (await admin.post(url, json={"order": "restart"})).status_code == 202
    await until(lambda: host.runtime.containers[user_id].boot > boot)
    await agent_is(app, user_id, "running")

    rows = (await admin.get("/api/admin/agents")).json()["agents"]
    [row] = [row for row in rows if row["userId"] == user_id]
    assert (row["state"], row["lastActivity"] is not None) == ("running", True)
    host.parts.host.sample()
    shown = (await admin.get("/api/admin/host")).json()
    assert shown["now"]["containers"] == len(rows)
    woken = [one for one in shown["day"]["wakes"] if one["fromState"] == "stopped"]
    assert [(one["userId"], one["who"]) for one in woken] == [
        (user_id, "user"), (user_id, "operator"),
    ]  # fmt: skip
    assert shown["day"]["samples"][-1]["total"] > 0
    events = (await admin.get("/api/admin/audit", params={"user": user_id})).json()["events"]
    assert {"agent.pause", "agent.stop", "agent.restart"} <= {one["action"] for one in events}


@pytest.mark.parametrize("body", [{}, {"order": "sleep"}, {"order": None}, {"order": ["stop"]}])
async def test_what_is_no_order_is_refused(
    sign_in_admin: SignIn, app: FastAPI, sign_in: SignIn, body: object
) -> None:
    admin = await sign_in_admin("admin@example.com")
    answer = await admin.post("/api/admin/agents/nobody/order", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-request")


async def test_an_agent_that_works_is_neither_paused_nor_stopped(
    app: FastAPI, sign_in: SignIn, host: Host, sign_in_admin: SignIn
) -> None:
    admin = await sign_in_admin("admin@example.com")
    _, user_id = await person(app, sign_in)
    host.gateway.busy[user_id] = Busy(["1 background command"], 10)
    for order in ("pause", "stop"):
        answer = await admin.post(f"/api/admin/agents/{user_id}/order", json={"order": order})
        assert (answer.status_code, answer.json()["code"]) == (409, "agent-busy")
    assert host.state(user_id) is S.RUNNING
