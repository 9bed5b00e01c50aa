"""One's own account: devices, signing out everywhere, the export, and the end of it."""

import json
from collections.abc import Awaitable, Callable
from datetime import timedelta

import httpx2
import pytest
from fastapi import FastAPI
from ocmt_management.me.repository import owned_tables
from ocmt_testing.management.people import id_of

SignIn = Callable[[str], Awaitable[httpx2.AsyncClient]]
ADA = "ada@example.com"


@pytest.mark.both_databases
async def test_devices_are_told_apart_by_the_place_of_their_last_use(
    app: FastAPI, sign_in: SignIn, advance: Callable[[timedelta], None]
) -> None:
    first, second = await sign_in(ADA), await sign_in(ADA)
    second._transport = httpx2.ASGITransport(app, client=("198.51.100.9", 50_000))
    advance(timedelta(minutes=6))  # a use is noted every five minutes
    await second.get("/api/secrets")
    sessions = (await first.get("/api/auth/sessions")).json()["sessions"]
    assert {one["client"] for one in sessions} == {"192.0.2.7", "198.51.100.9"}


@pytest.mark.both_databases
async def test_signing_out_everywhere_ends_every_session_of_ones_own(sign_in: SignIn) -> None:
    here, there, bob = await sign_in(ADA), await sign_in(ADA), await sign_in("bob@example.com")
    answer = await here.delete("/api/auth/sessions")
    assert answer.status_code == 204
    assert "ocmt_session=" in answer.headers["set-cookie"]
    for browser in (here, there):
        assert (await browser.get("/api/me")).status_code == 401
    assert (await bob.get("/api/me")).status_code == 200


@pytest.mark.both_databases
async def test_the_export_has_ones_own_rows_and_no_secret_and_nobody_elses(
    app: FastAPI, sign_in: SignIn, sign_in_admin: SignIn
) -> None:
    admin = await sign_in_admin("admin@example.com")
    ada = await sign_in(ADA)
    await ada.put("/api/secrets/FOO", json={"value": "very-secret-value-0123456789"})
    ada_id, admin_id = await id_of(ada), await id_of(admin)
    await admin.patch(f"/api/admin/users/{ada_id}", json={"role": "admin"})

    answer = await ada.get("/api/account/export")

    assert answer.headers["content-disposition"].startswith("attachment")
    found = json.loads(answer.text)
    assert set(found) == {"user"} | {table.name for table in owned_tables()}
    assert [row["name"] for row in found["secrets"]] == ["FOO"]
    assert len(found["sessions"]) == 1
    for name, rows in found.items():
        if name != "user":
            assert {row.get("user_id", ada_id) for row in rows} <= {ada_id}
    assert "very-secret" not in answer.text
    assert "token_hash" not in answer.text
    by_admin = [row for row in found["audit_events"] if row["actor"] == admin_id]
    assert [row["action"] for row in by_admin] == ["user.admin"]
    assert "client" not in by_admin[0]


async def test_an_account_is_deleted_by_its_own_address_only(
    app: FastAPI, sign_in: SignIn, sign_in_admin: SignIn
) -> None:
    admin = await sign_in_admin("admin@example.com")
    ada, bob = await sign_in(ADA), await sign_in("bob@example.com")
    await ada.put("/api/secrets/FOO", json={"value": "shredded"})
    for wrong in ("bob@example.com", "admin@example.com"):
        refused = await ada.post("/api/account/deletion", json={"email": wrong})
        assert (refused.status_code, refused.json()["code"]) == (409, "wrong-confirmation")
    last = await admin.post("/api/account/deletion", json={"email": "admin@example.com"})
    assert (last.status_code, last.json()["code"]) == (409, "last-admin")

    assert (await ada.post("/api/account/deletion", json={"email": ADA})).status_code == 202

    assert (await ada.get("/api/me")).status_code == 401
    users = (await admin.get("/api/admin/users")).json()["users"]
    ada_s = [user for user in users if user["email"] == ADA]
    assert [user["status"] for user in ada_s] in ([], ["deleting"])
    assert (await bob.get("/api/me")).status_code == 200


async def test_the_first_request_of_the_page_is_no_error_when_signed_out(
    sign_in: SignIn, new_browser: Callable[[], httpx2.AsyncClient]
) -> None:
    answer = await new_browser().get("/api/start")
    assert (answer.status_code, answer.json()) == (200, {"me": None, "mail": True})
    ada = await sign_in(ADA)
    assert (await ada.get("/api/start")).json()["me"] == (await ada.get("/api/me")).json()
    await ada.delete("/api/auth/session")
    assert (await ada.get("/api/start")).json()["me"] is None
