"""The allow-list, invitations, suspension and the first admin, on both databases."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from email.message import EmailMessage

import httpx2
import pytest
from fastapi import FastAPI
from ocmt_management.app import create_app
from ocmt_management.auth.service import is_active
from ocmt_management.auth.sign_in import operator_link
from ocmt_management.settings import ManagementSettings

ADA, BOB = "ada@example.com", "bob@elsewhere.org"

NewBrowser = Callable[[], httpx2.AsyncClient]
AskForLink = Callable[[httpx2.AsyncClient, str], Awaitable[str]]
SignIn = Callable[[str], Awaitable[httpx2.AsyncClient]]


async def users(admin: httpx2.AsyncClient) -> dict[str, dict[str, str]]:
    answer = await admin.get("/api/admin/users")
    assert answer.status_code == 200, answer.text
    return {user["email"]: user for user in answer.json()["users"]}


async def set_status(admin: httpx2.AsyncClient, email: str, status: str) -> httpx2.Response:
    user_id = (await users(admin))[email]["id"]
    return await admin.patch(f"/api/admin/users/{user_id}", json={"status": status})


async def link_for(app: FastAPI, email: str | None = None) -> str:
    """The token of an operator-made link."""
    state = app.state
    async with state.database.write() as session:
        _, link = await operator_link(
            session, settings=state.settings, clock=state.clock, email=email
        )
    return link.partition("#")[2]


async def test_the_first_user_to_sign_in_is_a_member(sign_in: SignIn) -> None:
    for email in (ADA, "eve@example.com"):
        member = await sign_in(email)
        assert (await member.get("/api/me")).json()["user"]["role"] == "member"
        assert (await member.get("/api/admin/users")).json()["code"] == "not-admin"


@pytest.mark.both_databases
async def test_many_simultaneous_first_sign_ins_make_no_admin(
    new_browser: NewBrowser, ask_for_link: AskForLink
) -> None:
    browsers = [new_browser() for _ in range(4)]
    tokens = [
        await ask_for_link(browser, f"user{n}@example.com") for n, browser in enumerate(browsers)
    ]

    answers = await asyncio.gather(
        *(
            browser.post("/api/auth/session", json={"token": token})
            for browser, token in zip(browsers, tokens, strict=True)
        )
    )

    assert [answer.json()["user"]["role"] for answer in answers] == ["member"] * 4


@pytest.mark.both_databases
async def test_the_operator_makes_a_member_the_admin_while_there_is_none(
    app: FastAPI, sign_in: SignIn, new_browser: NewBrowser
) -> None:
    await sign_in("eve@example.com")
    member = await sign_in(ADA)

    answer = await new_browser().post("/api/auth/session", json={"token": await link_for(app, ADA)})

    assert answer.json()["user"]["role"] == "admin"
    assert {email: user["role"] for email, user in (await users(member)).items()} == {
        ADA: "admin",
        "eve@example.com": "member",
    }
    await link_for(app, "eve@example.com")
    assert (await users(member))["eve@example.com"]["role"] == "member"


async def test_without_an_admin_a_link_without_an_address_makes_one(
    app: FastAPI, sign_in: SignIn, new_browser: NewBrowser
) -> None:
    await sign_in(ADA)

    answer = await new_browser().post("/api/auth/session", json={"token": await link_for(app)})

    assert answer.json()["user"]["email"] == "admin@localhost"
    assert answer.json()["user"]["role"] == "admin"


async def test_the_named_admin_signs_in_by_mail_too(sign_in_admin: SignIn, sign_in: SignIn) -> None:
    await sign_in_admin(BOB)

    assert (await (await sign_in(BOB)).get("/api/me")).json()["user"]["role"] == "admin"


@pytest.mark.both_databases
async def test_one_new_address_in_two_browsers_at_once_is_one_user(
    new_browser: NewBrowser, ask_for_link: AskForLink
) -> None:
    browsers = [new_browser(), new_browser()]
    tokens = [await ask_for_link(browser, ADA) for browser in browsers]

    answers = await asyncio.gather(
        *(
            browser.post("/api/auth/session", json={"token": token})
            for browser, token in zip(browsers, tokens, strict=True)
        )
    )

    assert [answer.status_code for answer in answers] == [200, 200]
    assert len({answer.json()["user"]["id"] for answer in answers}) == 1


async def test_a_stranger_gets_the_same_answer_and_no_mail(
    app: FastAPI, new_browser: NewBrowser, sign_in: SignIn, mails: list[EmailMessage]
) -> None:
    await sign_in(ADA)
    sent = len(mails)

    known = await new_browser().post("/api/auth/link", json={"email": ADA})
    stranger = await new_browser().post("/api/auth/link", json={"email": BOB})
    await app.state.mail_queue.delivered()

    assert stranger.status_code == known.status_code == 202
    assert stranger.json() == known.json()
    assert stranger.headers.keys() == known.headers.keys()
    assert len(mails) == sent + 1


async def test_an_address_is_one_however_it_is_written(sign_in_admin: SignIn) -> None:
    admin = await sign_in_admin(ADA)
    again = await admin.post("/api/admin/invitations", json={"email": " ADA@Example.com "})

    assert again.json()["code"] == "already-user"


async def test_an_international_domain_is_one_address_however_it_is_written(
    sign_in_admin: SignIn, new_browser: NewBrowser, app: FastAPI, mails: list[EmailMessage]
) -> None:
    admin = await sign_in_admin(ADA)
    made = await admin.post("/api/admin/invitations", json={"email": "User@BÜCHER.example"})
    assert made.json()["email"] == "user@xn--bcher-kva.example"

    for email in ("user@bücher.example", "user@xn--bcher-kva.example"):
        await new_browser().post("/api/auth/link", json={"email": email})
    await app.state.mail_queue.delivered()

    assert [mail["To"] for mail in mails] == ["user@xn--bcher-kva.example"] * 3


@pytest.mark.parametrize(
    "email",
    ["", "ada", "@example.com", "ada@", "a@b\r\nBcc: x@y.z", "a b@c.d", "a@b,c@d", "<a@b.c>"],
)
async def test_what_is_no_address_is_refused(new_browser: NewBrowser, email: str) -> None:
    answer = await new_browser().post("/api/auth/link", json={"email": email})

    assert answer.status_code == 422
    assert "email" in answer.json()["detail"]


@pytest.mark.both_databases
async def test_an_invited_address_may_sign_in_after_the_mail(
    new_browser: NewBrowser,
    sign_in_admin: SignIn,
    app: FastAPI,
    mails: list[EmailMessage],
) -> None:
    admin = await sign_in_admin(ADA)
    answer = await admin.post("/api/admin/invitations", json={"email": BOB})
    await app.state.mail_queue.delivered()

    assert answer.status_code == 201
    assert mails[-1]["To"] == BOB
    assert mails[-1]["From"] == "ocmt@example.com"

    # Its link signs in at once, without a form that sends a second mail.
    [token] = re.findall(r"/sign-in#([\w-]{43})\s", str(mails[-1].get_body(("plain",))))
    bob = new_browser()
    sent = len(mails)
    assert (await bob.post("/api/auth/session", json={"token": token})).status_code == 200
    assert (await bob.get("/api/me")).json()["user"]["email"] == BOB
    assert len(mails) == sent
    again = await new_browser().post("/api/auth/session", json={"token": token})
    assert again.json()["code"] == "link-invalid"
    assert (await users(admin))[BOB]["role"] == "member"
    assert (await admin.get("/api/admin/invitations")).json() == {"invitations": []}


@pytest.mark.both_databases
async def test_a_revoked_invitation_invalidates_a_mailed_link(
    new_browser: NewBrowser, ask_for_link: AskForLink, sign_in_admin: SignIn
) -> None:
    admin = await sign_in_admin(ADA)
    invitation = (await admin.post("/api/admin/invitations", json={"email": BOB})).json()
    browser = new_browser()
    token = await ask_for_link(browser, BOB)

    revoked = await admin.delete(f"/api/admin/invitations/{invitation['id']}")

    assert revoked.status_code == 204
    answer = await browser.post("/api/auth/session", json={"token": token})
    assert answer.json()["code"] == "link-invalid"
    assert (await admin.delete(f"/api/admin/invitations/{invitation['id']}")).status_code == 404


async def test_an_invitation_expires_and_inviting_again_renews_it(
    sign_in: SignIn,
    sign_in_admin: SignIn,
    advance: Callable[[timedelta], None],
    new_browser: NewBrowser,
    app: FastAPI,
    mails: list[EmailMessage],
) -> None:
    admin = await sign_in_admin(ADA)
    await admin.post("/api/admin/invitations", json={"email": BOB})
    advance(timedelta(days=7))
    await app.state.mail_queue.delivered()
    sent = len(mails)

    await new_browser().post("/api/auth/link", json={"email": BOB})
    await app.state.mail_queue.delivered()
    assert len(mails) == sent

    assert (await admin.post("/api/admin/invitations", json={"email": BOB})).status_code == 201
    await sign_in(BOB)


async def test_a_suspended_user_is_signed_out_at_once_and_cannot_sign_in(
    app: FastAPI,
    new_browser: NewBrowser,
    ask_for_link: AskForLink,
    sign_in: SignIn,
    sign_in_admin: SignIn,
) -> None:
    admin, member = await sign_in_admin(ADA), await sign_in("eve@example.com")
    waiting = new_browser()
    token = await ask_for_link(waiting, "eve@example.com")
    session_id = (await member.get("/api/auth/sessions")).json()["sessions"][0]["id"]
    eve = (await users(admin))["eve@example.com"]["id"]

    with app.state.session_revocations.watch(session_id) as ended:
        assert (await set_status(admin, "eve@example.com", "suspended")).status_code == 200
        assert ended.is_set()

    assert (await member.get("/api/auth/sessions")).status_code == 401
    refused = await waiting.post("/api/auth/session", json={"token": token})
    assert refused.json()["code"] == "link-invalid"
    async with app.state.database.read() as session:
        assert not await is_active(session, eve)

    await set_status(admin, "eve@example.com", "active")
    assert (await member.get("/api/auth/sessions")).status_code == 401
    await sign_in("eve@example.com")


@pytest.mark.both_databases
async def test_the_last_admin_cannot_be_suspended(sign_in_admin: SignIn) -> None:
    admin = await sign_in_admin(ADA)

    assert (await set_status(admin, ADA, "suspended")).json()["code"] == "last-admin"
    assert (await users(admin))[ADA]["status"] == "active"


async def test_changing_an_unknown_user_is_a_404_and_nonsense_a_422(sign_in_admin: SignIn) -> None:
    admin = await sign_in_admin(ADA)

    async def change(path: str, status: str) -> int:
        answer = await admin.patch(f"/api/admin/users/{path}", json={"status": status})
        return answer.status_code

    assert await change("nobody", "active") == 404
    assert await change("No%20body", "active") == 422
    assert await change("nobody", "asleep") == 422


async def test_an_operator_link_works_in_any_browser_and_makes_the_first_admin(
    app: FastAPI, new_browser: NewBrowser
) -> None:
    browser = new_browser()
    answer = await browser.post("/api/auth/session", json={"token": await link_for(app)})

    assert answer.json()["user"]["email"] == "admin@localhost"
    assert answer.json()["user"]["role"] == "admin"

    second = await new_browser().post("/api/auth/session", json={"token": await link_for(app)})
    assert second.json()["user"] == answer.json()["user"]


async def test_an_operator_link_for_a_stranger_makes_them_a_member(
    app: FastAPI, sign_in_admin: SignIn, new_browser: Callable[[], httpx2.AsyncClient]
) -> None:
    await sign_in_admin(ADA)

    token = await link_for(app, BOB)
    answer = await new_browser().post("/api/auth/session", json={"token": token})

    assert answer.json()["user"]["email"] == BOB
    assert answer.json()["user"]["role"] == "member"


async def test_each_sign_in_asks_for_the_agent_after_the_user_is_saved(
    app: FastAPI, sign_in: SignIn
) -> None:
    asked: list[str] = []
    app.state.on_sign_in = asked.append

    await sign_in(ADA)

    async with app.state.database.read() as session:
        assert [await is_active(session, user_id) for user_id in asked] == [True]


class TestWithLists:
    @pytest.fixture
    def settings(
        self, make_settings: Callable[..., ManagementSettings], mailbox: tuple[int, list[object]]
    ) -> ManagementSettings:
        return make_settings(
            smtp_host="127.0.0.1",
            smtp_port=str(mailbox[0]),
            smtp_from="ocmt@example.com",
            smtp_tls="none",
            allowed_emails="Grace@navy.mil, bob@elsewhere.org",
        )

    async def test_a_listed_address_may_sign_in(self, sign_in: SignIn) -> None:
        await sign_in("grace@navy.mil")

    async def test_a_list_also_says_who_may_come_first(
        self, app: FastAPI, new_browser: NewBrowser, mails: list[EmailMessage]
    ) -> None:
        await new_browser().post("/api/auth/link", json={"email": "mallory@evil.example"})
        await app.state.mail_queue.delivered()

        assert mails == []


class TestFreshWithMail:
    """Settings as after `ocmt setup` with a mail server: an empty allow-list and no user yet."""

    @pytest.fixture
    def settings(
        self, make_settings: Callable[..., ManagementSettings], mailbox: tuple[int, list[object]]
    ) -> ManagementSettings:
        return make_settings(
            base_url="https://ocmt.example",
            smtp_host="127.0.0.1",
            smtp_port=str(mailbox[0]),
            smtp_from="ocmt@example.com",
            smtp_tls="none",
        )

    @pytest.mark.parametrize("stranger", [BOB, "admin@localhost", "root@ocmt.example"])
    async def test_a_stranger_is_refused_like_any_unknown_address(
        self, app: FastAPI, new_browser: NewBrowser, mails: list[EmailMessage], stranger: str
    ) -> None:
        before = await new_browser().post("/api/auth/link", json={"email": stranger})
        await link_for(app, ADA)
        after = await new_browser().post("/api/auth/link", json={"email": stranger})
        await app.state.mail_queue.delivered()

        assert before.status_code == after.status_code == 202
        assert before.json() == after.json()
        assert mails == []

    async def test_the_server_says_at_start_how_to_make_the_first_admin(
        self, app: FastAPI, settings: ManagementSettings, quiet_logs: list[dict[str, object]]
    ) -> None:
        (warned,) = [event for event in quiet_logs if event["event"] == "no admin yet"]
        assert "ocmt link --email" in str(warned["reason"])
        quiet_logs.clear()

        await link_for(app)
        again = create_app(settings)
        async with again.router.lifespan_context(again):
            pass

        assert "no admin yet" not in [event["event"] for event in quiet_logs]
