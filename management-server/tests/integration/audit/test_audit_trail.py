"""The audit trail: its events, its readers, and what unauthenticated clients can add to it."""

import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from ocmt_management.audit.models import AuditEvent
from ocmt_management.audit.service import Audit
from ocmt_management.housekeeping import tidy
from ocmt_testing.management.people import agent_is, id_of
from sqlalchemy import func, select

ADA, BOB = "ada@example.com", "bob@example.com"

NewBrowser = Callable[[], httpx2.AsyncClient]
AskForLink = Callable[[httpx2.AsyncClient, str], Awaitable[str]]
SignIn = Callable[[str], Awaitable[httpx2.AsyncClient]]
Advance = Callable[[timedelta], None]

HERE = "192.0.2.7"


@pytest.fixture
async def admin(sign_in_admin: SignIn) -> httpx2.AsyncClient:
    return await sign_in_admin(ADA)


async def trail(admin: httpx2.AsyncClient, action: str, **more: str) -> list[dict[str, Any]]:
    """The events of this action as the admin reads them, oldest first."""
    answer = await admin.get("/api/admin/audit", params={"limit": 500, **more})
    assert answer.status_code == 200, answer.text
    return [event for event in reversed(answer.json()["events"]) if event["action"] == action]


@pytest.mark.both_databases
async def test_sign_ins_and_their_ends_are_recorded(
    admin: httpx2.AsyncClient, sign_in: SignIn, ask_for_link: AskForLink
) -> None:
    bob, phone = await sign_in(BOB), await sign_in(BOB)
    user_id = await id_of(bob)
    sessions = (await bob.get("/api/auth/sessions")).json()["sessions"]
    (other,) = [session["id"] for session in sessions if not session["current"]]
    await bob.delete(f"/api/auth/sessions/{other}")
    token = await ask_for_link(bob, BOB)
    await bob.post("/api/auth/session", json={"token": token})
    await bob.delete("/api/auth/session")
    assert (await phone.get("/api/me")).status_code == 401

    for action, times in {
        "user.created": 1,
        "sign-in": 3,
        "session.ended": 1,
        "session.replaced": 1,
        "sign-out": 1,
    }.items():
        rows = await trail(admin, action, user=user_id)
        assert len(rows) == times, action
        assert {row["userEmail"] for row in rows} == {BOB}
        assert {row["client"] for row in rows} == {HERE}


@pytest.mark.parametrize("attempt", ["made up", "used", "expired", "wrong code", "whose"])
async def test_a_failed_sign_in_is_recorded(
    *,
    admin: httpx2.AsyncClient,
    new_browser: NewBrowser,
    ask_for_link: AskForLink,
    advance: Advance,
    attempt: str,
) -> None:
    browser = new_browser()
    path, body = "/api/auth/session", {"token": await ask_for_link(browser, BOB)}
    if attempt == "made up":
        body = {"token": "x" * 43}
    elif attempt == "used":
        await browser.post(path, json=body)
    elif attempt == "expired":
        advance(timedelta(minutes=10))
    elif attempt == "wrong code":
        body = {"code": "000000"}
    else:
        path, body = "/api/auth/link/account", {"token": "x" * 43}

    assert (await browser.post(path, json=body)).status_code == 403

    (row,) = await trail(admin, "sign-in.failed")
    assert (row["client"], row["detail"]) == (HERE, f"POST {path}")


@pytest.mark.parametrize(
    ("action", "code"),
    [
        ("refused.not-admin", 403),
        ("refused.cross-site", 403),
        ("refused.too-many-attempts", 429),
    ],
)
async def test_a_refusal_is_recorded(
    admin: httpx2.AsyncClient, sign_in: SignIn, action: str, code: int
) -> None:
    bob = await sign_in(BOB)
    user_id = await id_of(bob)
    if action == "refused.not-admin":
        answer = await bob.get("/api/admin/users")
    elif action == "refused.cross-site":
        answer = await bob.delete("/api/auth/session", headers={"sec-fetch-site": "cross-site"})
    else:
        for _ in range(20):
            answer = await bob.post("/api/auth/session", json={"token": "x" * 43})
    assert answer.status_code == code

    (row,) = await trail(admin, action)
    assert row["client"] == HERE
    if action == "refused.not-admin":
        assert (row["actor"], row["actorEmail"]) == (user_id, BOB)
        assert row["detail"] == "GET /api/admin/users"


async def test_what_an_admin_does_is_recorded(
    app: FastAPI, admin: httpx2.AsyncClient, sign_in: SignIn
) -> None:
    bob = await sign_in(BOB)
    user_id, me = await id_of(bob), await id_of(admin)
    made = await admin.post("/api/admin/invitations", json={"email": "eve@elsewhere.org"})
    await admin.delete(f"/api/admin/invitations/{made.json()['id']}")
    await agent_is(app, user_id, "provisioning")
    for status in ("suspended", "active"):
        await admin.patch(f"/api/admin/users/{user_id}", json={"status": status})
    await admin.post(f"/api/admin/agents/{user_id}/token")
    await admin.get("/api/admin/audit/export")
    await admin.post(f"/api/admin/users/{user_id}/deletion", json={"email": BOB})

    for action in (
        "invitation.sent",
        "invitation.revoked",
        "user.suspended",
        "session.ended",
        "user.active",
        "agent.token",
        "audit.exported",
        "user.deleting",
        "secret.shred",
    ):
        rows = await trail(admin, action)
        assert rows, action
        assert {row["actor"] for row in rows} == {me}, action
        assert {row["client"] for row in rows} == {HERE}


async def test_expired_sessions_are_recorded_when_they_are_forgotten(
    app: FastAPI, admin: httpx2.AsyncClient, sign_in: SignIn, advance: Advance
) -> None:
    user_id = await id_of(await sign_in(BOB))
    state = app.state
    advance(timedelta(days=13))
    await admin.get("/api/auth/sessions")
    advance(timedelta(days=1))

    await tidy(state.database, state.vault_keys, state.clock)

    (row,) = await trail(admin, "session.expired")
    assert (row["userId"], row["actor"]) == (user_id, "server")


async def test_asking_for_a_link_is_recorded_with_what_came_of_it(
    admin: httpx2.AsyncClient, new_browser: NewBrowser, advance: Advance
) -> None:
    for email in (BOB, "mallory@evil.example"):
        advance(timedelta(minutes=1))
        await new_browser().post("/api/auth/link", json={"email": email})

    rows = await trail(admin, "link.asked")
    assert [(row["subject"], row["detail"], row["actor"]) for row in rows] == [
        (BOB, "mailed", "stranger"),
        ("mallory@evil.example", "no mail: not allowed", "stranger"),
    ]


async def test_strangers_cannot_fill_the_trail(
    app: FastAPI, admin: httpx2.AsyncClient, advance: Advance
) -> None:
    for number in range(400):
        transport = httpx2.ASGITransport(app, client=(f"198.51.{number % 250}.{number}", 1))
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as one:
            for _ in range(3):
                await one.post("/api/auth/session", json={"token": "x" * 43})
    assert len(await trail(admin, "sign-in.failed")) == 300

    transport = httpx2.ASGITransport(app, client=("198.51.0.0", 1))
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as one:
        await one.post("/api/auth/session", json={"token": "x" * 43})
        advance(timedelta(hours=1))
        await one.post("/api/auth/session", json={"token": "x" * 43})
    rows = await trail(admin, "sign-in.failed")
    assert rows[-1]["detail"] == "POST /api/auth/session (3 more since the last)"


@pytest.mark.both_databases
async def test_it_is_read_in_pages(admin: httpx2.AsyncClient, app: FastAPI) -> None:
    async with app.state.database.write() as session:
        for number in range(25):
            Audit(session, app.state.clock).record(
                "test", user_id="", actor="server", subject=f"{number}"
            )
    seen: list[str] = []
    before: dict[str, int] = {}
    while True:
        page = (await admin.get("/api/admin/audit", params={"limit": 10, **before})).json()
        assert len(page["events"]) <= 10
        seen += [event["subject"] for event in page["events"] if event["action"] == "test"]
        if page["earlier"] is None:
            break
        before = {"before": page["earlier"]}

    assert seen == [f"{number}" for number in reversed(range(25))]


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=501", "limit=x", "before=0", "before=-1", "user=No%20body"]
)
async def test_a_page_that_is_none_is_a_422(admin: httpx2.AsyncClient, query: str) -> None:
    answer = await admin.get(f"/api/admin/audit?{query}")

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-request")


@pytest.mark.both_databases
async def test_all_of_it_is_exported_oldest_first(
    admin: httpx2.AsyncClient, sign_in: SignIn, app: FastAPI
) -> None:
    user_id = await id_of(await sign_in(BOB))
    async with app.state.database.write() as session:
        for number in range(1200):
            Audit(session, app.state.clock).record(
                "test", user_id=user_id, actor="server", subject=f"{number}"
            )
        rows = await session.scalar(select(func.count()).select_from(AuditEvent))

    answer = await admin.get("/api/admin/audit/export")
    his = await admin.get("/api/admin/audit/export", params={"user": user_id})

    assert answer.headers["content-type"] == "application/x-ndjson"
    events = [json.loads(line) for line in answer.text.splitlines()]
    assert len(events) == rows + 1
    assert [event["id"] for event in events] == sorted(event["id"] for event in events)
    assert {"at", "action", "actor", "actorEmail", "userId", "client"} <= events[0].keys()
    about = [json.loads(line) for line in his.text.splitlines()]
    assert 1200 < len(about) < len(events)
    assert {user_id} == {event["userId"] for event in about}


async def test_members_and_strangers_do_not_read_it(
    admin: httpx2.AsyncClient, sign_in: SignIn, new_browser: NewBrowser
) -> None:
    for path in ("/api/admin/audit", "/api/admin/audit/export"):
        assert (await (await sign_in(BOB)).get(path)).status_code == 403
        assert (await new_browser().get(path)).status_code == 401


async def test_the_access_log_has_client_and_user_and_no_token(
    admin: httpx2.AsyncClient, quiet_logs: list[dict[str, Any]]
) -> None:
    me = await id_of(admin)
    quiet_logs.clear()
    await admin.get("/api/auth/sessions")
    transport = httpx2.ASGITransport(admin._transport.app, client=("203.0.113.9", 1))  # type: ignore[attr-defined]
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as stranger:
        await stranger.get("/api/auth/sessions?token=abc")

    lines = [event for event in quiet_logs if event["event"] == "request"]
    assert [(line["client"], line["user_id"], line["path"]) for line in lines] == [
        (HERE, me, "/api/auth/sessions"),
        ("203.0.113.9", None, "/api/auth/sessions"),
    ]
