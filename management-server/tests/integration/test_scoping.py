"""Every statement that a member's request runs on users' rows names that member, or their token."""

import re
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from fastapi import FastAPI
from ocmt_management.auth.models import User
from ocmt_management.tables import Base
from ocmt_testing.management.push_service import Device
from sqlalchemy import Engine, event, select

PUSH = "https://push.example.com"
SignIn = Callable[[str], Awaitable[httpx2.AsyncClient]]

# What the background loops look for, of all users.
ALL_USERS = re.compile(
    r"tool_approvals.next_at <=|tool_catalogues.sent_version <|GROUP BY connection_requests.user_id"
)
# A user's rows: every table with a column that says whose they are.
OWNED = {table.name for table in Base.metadata.sorted_tables if "user_id" in table.columns}


@pytest.fixture
def statements() -> Iterator[list[tuple[str, Any]]]:
    """SQL with its parameters, as the driver receives it."""
    ran: list[tuple[str, Any]] = []

    def note(_: object, __: object, sql: str, parameters: Any, *___: object) -> None:
        ran.append((sql, parameters))

    event.listen(Engine, "before_cursor_execute", note)
    yield ran
    event.remove(Engine, "before_cursor_execute", note)


def test_the_owned_tables_are_those_with_something_private() -> None:
    assert {
        "sessions",
        "secrets",
        "data_keys",
        "audit_events",
        "tool_accounts",
        "connections",
        "push_subscriptions",
    } <= OWNED


@pytest.mark.both_databases
async def test_a_members_requests_touch_only_their_own_rows(
    app: FastAPI,
    sign_in: SignIn,
    sign_in_admin: SignIn,
    advance: Callable[[timedelta], None],
    statements: list[tuple[str, Any]],
) -> None:
    # No agent is provisioned meanwhile, which is retried constantly without an agent server.
    app.state.on_sign_in = lambda _: None
    # Nor are agents made to list their tools again, for which all users' versions are read.
    app.state.tools._sender.changed = lambda: None
    admin, member = await sign_in_admin("ada@example.com"), await sign_in("bob@example.com")
    await admin.put("/api/secrets/FOO", json={"value": "ada's"})
    await admin.get("/api/notifications")  # which makes the server's key for all
    await admin.put("/api/notifications/subscription", json=Device(PUSH).subscription())
    async with app.state.database.read() as session:
        bob = await session.scalar(select(User.id).where(User.email == "bob@example.com"))
    sessions = (await admin.get("/api/auth/sessions")).json()["sessions"]
    advance(timedelta(hours=1))
    statements.clear()

    await member.get("/api/auth/sessions")
    await member.delete(f"/api/auth/sessions/{sessions[0]['id']}")
    await member.put("/api/secrets/FOO", json={"value": "bob's"})
    await member.put("/api/secrets/FOO", json={"value": "bob's too"})
    await member.get("/api/secrets")
    await member.delete("/api/secrets/FOO")
    added = await member.post(
        "/api/tools/servers", json={"name": "mine", "url": "https://localhost:1/mcp"}
    )
    one = f"/api/tools/servers/{added.json()['id']}"
    await member.put(f"{one}/rule", json={"rule": "allow"})
    await member.put(f"{one}/rule", json={"rule": "deny"})
    await member.get("/api/tools")
    await member.get("/api/tools/uses")
    await member.get(f"{one}/changes")
    await member.put(f"{one}/connection", json={})
    await member.delete(f"{one}/connection")
    await member.delete(one)
    await member.get("/api/approvals")
    await member.post(f"/api/approvals/{uuid4()}/decision", json={"decision": "no", "version": 1})
    await member.get("/api/connections")
    await member.post("/api/connections/start", json={"provider": "google"})
    key = {"name": "Own", "host": "api.example.com", "key": "bob's key"}
    keyed = await member.post("/api/connections/keys", json=key)
    connection = keyed.json()["id"]
    await member.put(f"/api/connections/keys/{connection}", json={"key": "bob's other key"})
    await member.post(f"/api/connections/{connection}/test")
    await member.delete(f"/api/connections/{connection}")
    await member.get(f"/api/connections/callback?state={'s' * 43}&code=c")
    await member.put("/api/notifications/subscription", json=Device(PUSH).subscription())
    await member.put("/api/notifications/attention", json={"visible": True})
    await member.get("/api/notifications")
    await member.delete("/api/notifications/subscription")
    await member.delete("/api/auth/session")

    checked = 0
    for sql, parameters in statements:
        words = set(sql.replace('"', " ").replace(".", " ").replace("(", " ").split())
        if not words & OWNED or ALL_USERS.search(sql):
            continue
        checked += 1
        by_token = "sessions.token_hash =" in sql
        assert by_token or bob in parameters, sql
        assert by_token or sql.startswith("INSERT") or "user_id = " in sql, sql
    assert checked > 20
    assert (await admin.get("/api/auth/sessions")).status_code == 200
    assert len((await admin.get("/api/secrets")).json()["secrets"]) == 1
    assert (await admin.get("/api/notifications")).json()["on"]
