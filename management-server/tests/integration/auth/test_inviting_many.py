"""Invitations in bulk and as links, and the roles of people."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import httpx2
import pytest
from fastapi import FastAPI
from ocmt_testing.management.people import id_of

SignIn = Callable[[str], Awaitable[httpx2.AsyncClient]]
NewBrowser = Callable[[], httpx2.AsyncClient]
NEW = "new@elsewhere.org"


async def link_for(admin: httpx2.AsyncClient, seen_secrets: set[str], email: str = NEW) -> str:
    invited = (await admin.post("/api/admin/invitations", json={"email": email})).json()
    return await again(admin, seen_secrets, invited["id"])


async def again(admin: httpx2.AsyncClient, seen_secrets: set[str], invitation_id: str) -> str:
    answer = await admin.post(f"/api/admin/invitations/{invitation_id}/link")
    assert answer.status_code == 201, answer.text
    token = str(answer.json()["link"]).partition("#")[2]
    seen_secrets.add(token)
    return token


async def use(browser: httpx2.AsyncClient, token: str) -> httpx2.Response:
    return await browser.post("/api/auth/session", json={"token": token})


@pytest.mark.both_databases
async def test_many_are_invited_at_once_each_with_its_outcome(
    sign_in: SignIn, sign_in_admin: SignIn
) -> None:
    admin = await sign_in_admin("admin@example.com")
    await sign_in("bob@example.com")
    emails = ["a@elsewhere.org", "bob@example.com", "A@elsewhere.org", "b@elsewhere.org"]
    answer = await admin.post("/api/admin/invitations/bulk", json={"emails": emails})
    outcomes = answer.json()["outcomes"]
    assert [(one["email"], one["invited"]) for one in outcomes] == [
        ("a@elsewhere.org", True), ("bob@example.com", False), ("b@elsewhere.org", True),
    ]  # fmt: skip
    assert "is a user already" in outcomes[1]["detail"]
    listed = (await admin.get("/api/admin/invitations")).json()["invitations"]
    assert {one["email"] for one in listed} == {"a@elsewhere.org", "b@elsewhere.org"}


@pytest.mark.parametrize("emails", [[], ["no address"], ["a@b.io"] * 201, "a@b.io"])
async def test_what_is_no_list_of_addresses_invites_nobody(
    sign_in_admin: SignIn, emails: object
) -> None:
    admin = await sign_in_admin("admin@example.com")
    answer = await admin.post("/api/admin/invitations/bulk", json={"emails": emails})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-request")
    assert (await admin.get("/api/admin/invitations")).json()["invitations"] == []


@pytest.mark.both_databases
async def test_an_invitations_link_signs_in_any_browser_once(
    sign_in_admin: SignIn,
    new_browser: NewBrowser,
    seen_secrets: set[str],
    advance: Callable[[timedelta], None],
) -> None:
    admin = await sign_in_admin("admin@example.com")
    token = await link_for(admin, seen_secrets)
    advance(timedelta(days=3))
    answer = await use(new_browser(), token)
    assert answer.json()["user"] == answer.json()["user"] | {"email": NEW, "role": "member"}
    assert (await use(new_browser(), token)).status_code == 403


@pytest.mark.parametrize(
    "end", ["withdrawn", "replaced", "expired", "account", "invited again", "renewed"]
)
async def test_an_invitations_link_ends_with_it_and_never_opens_an_account(
    *,
    sign_in_admin: SignIn,
    ask_for_link: Callable[..., Awaitable[str]],
    new_browser: NewBrowser,
    seen_secrets: set[str],
    advance: Callable[[timedelta], None],
    end: str,
) -> None:
    admin = await sign_in_admin("admin@example.com")
    token = await link_for(admin, seen_secrets)
    [row] = (await admin.get("/api/admin/invitations")).json()["invitations"]
    match end:
        case "withdrawn":
            await admin.delete(f"/api/admin/invitations/{row['id']}")
        case "replaced":
            await again(admin, seen_secrets, row["id"])
        case "expired":
            advance(timedelta(days=7, seconds=1))
        case "account":
            browser = new_browser()
            assert (await use(browser, await ask_for_link(browser, NEW))).status_code == 200
            refused = await admin.post(f"/api/admin/invitations/{row['id']}/link")
            assert refused.status_code in (404, 409)
        case "invited again":
            await admin.delete(f"/api/admin/invitations/{row['id']}")
            await link_for(admin, seen_secrets)
        case "renewed":
            await admin.post("/api/admin/invitations", json={"email": NEW})
    assert (await use(new_browser(), token)).status_code == 403


@pytest.mark.both_databases
async def test_the_first_sign_in_by_mail_ends_what_an_admin_began_by_the_link(
    sign_in: SignIn, sign_in_admin: SignIn, new_browser: NewBrowser, seen_secrets: set[str]
) -> None:
    admin = await sign_in_admin("admin@example.com")
    admins_own = new_browser()
    assert (await use(admins_own, await link_for(admin, seen_secrets))).status_code == 200
    user_id = await id_of(admins_own)

    first = await sign_in(NEW)

    assert await id_of(first) == user_id
    assert (await admins_own.get("/api/me")).status_code == 401
    second = await sign_in(NEW)
    for browser in (first, second, admin):
        assert (await browser.get("/api/me")).status_code == 200
    events = (await admin.get("/api/admin/audit", params={"user": user_id})).json()["events"]
    ended = [event["actor"] for event in events if event["action"] == "session.ended"]
    assert ended == ["server"]


@pytest.mark.both_databases
async def test_a_role_holds_from_the_next_request_on_and_an_admin_remains(
    app: FastAPI, sign_in: SignIn, sign_in_admin: SignIn
) -> None:
    admin, bob = await sign_in_admin("admin@example.com"), await sign_in("bob@example.com")
    admin_id, bob_id = await id_of(admin), await id_of(bob)
    last = await admin.patch(f"/api/admin/users/{admin_id}", json={"role": "member"})
    assert (last.status_code, last.json()["code"]) == (409, "last-admin")
    assert (await bob.get("/api/admin/users")).status_code == 403

    made = await admin.patch(f"/api/admin/users/{bob_id}", json={"role": "admin"})

    assert made.json()["role"] == "admin"
    assert (await bob.get("/api/admin/users")).status_code == 200
    await bob.patch(f"/api/admin/users/{admin_id}", json={"role": "member"})
    assert (await admin.get("/api/admin/users")).status_code == 403
    for wrong in ({}, {"role": "owner"}, {"role": None}, {"status": "deleting"}):
        answer = await bob.patch(f"/api/admin/users/{bob_id}", json=wrong)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid-request")
