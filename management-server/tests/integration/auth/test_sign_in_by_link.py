"""Sign-in by magic link, with real mail, on both databases."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from email.message import EmailMessage
from http.cookies import SimpleCookie

import httpx2
import pytest
from fastapi import FastAPI
from ocmt_management.auth.sessions import IDLE_LIFE
from ocmt_management.auth.sign_in import CODES_PER_LINK, TRIES_PER_LINK, operator_link
from ocmt_management.db import Database

ADA = "ada@example.com"

NewBrowser = Callable[[], httpx2.AsyncClient]
AskForLink = Callable[[httpx2.AsyncClient, str], Awaitable[str]]
SignIn = Callable[[str], Awaitable[httpx2.AsyncClient]]
Advance = Callable[[timedelta], None]


async def use(browser: httpx2.AsyncClient, **body: str) -> httpx2.Response:
    return await browser.post("/api/auth/session", json=body)


async def is_signed_in(browser: httpx2.AsyncClient) -> bool:
    return (await browser.get("/api/auth/sessions")).status_code == 200


async def test_the_link_signs_in_the_browser_that_asked(
    new_browser: NewBrowser, ask_for_link: AskForLink
) -> None:
    browser = new_browser()
    token = await ask_for_link(browser, ADA)

    answer = await use(browser, token=token)

    assert answer.status_code == 200
    assert answer.json()["user"]["email"] == ADA
    assert await is_signed_in(browser)


async def test_the_mail_has_the_token_in_the_fragment_as_text_and_as_html(
    new_browser: NewBrowser, ask_for_link: AskForLink, mails: list[EmailMessage]
) -> None:
    token = await ask_for_link(new_browser(), ADA)

    for kind in ("plain", "html"):
        body = mails[-1].get_body((kind,))
        assert body is not None
        assert f"http://127.0.0.1:3000/sign-in#{token}" in body.get_content()
        assert f"?{token}" not in body.get_content()


async def test_another_browser_gets_a_code_and_no_session(
    new_browser: NewBrowser, ask_for_link: AskForLink
) -> None:
    asking, other = new_browser(), new_browser()
    token = await ask_for_link(asking, ADA)

    shown = await use(other, token=token)

    assert re.fullmatch(r"\d{6}", shown.json()["code"])
    assert "set-cookie" not in shown.headers
    assert not await is_signed_in(other)

    answer = await use(asking, code=shown.json()["code"])

    assert answer.json()["user"]["email"] == ADA
    assert await is_signed_in(asking)
    assert not await is_signed_in(other)


@pytest.mark.both_databases
async def test_a_code_is_worth_nothing_in_a_browser_that_did_not_ask(
    new_browser: NewBrowser, ask_for_link: AskForLink
) -> None:
    token = await ask_for_link(new_browser(), ADA)
    thief = new_browser()
    code = (await use(thief, token=token)).json()["code"]
    await ask_for_link(thief, "thief@example.com")

    assert (await use(thief, code=code)).json()["code"] == "link-invalid"


async def test_a_code_can_be_guessed_only_a_few_times(
    new_browser: NewBrowser, ask_for_link: AskForLink
) -> None:
    asking = new_browser()
    token = await ask_for_link(asking, ADA)
    code = (await use(new_browser(), token=token)).json()["code"]
    wrong = f"{(int(code) + 1) % 10**6:06}"

    for _ in range(TRIES_PER_LINK):
        assert (await use(asking, code=wrong)).status_code == 403

    assert (await use(asking, code=code)).status_code == 403


async def test_only_the_last_code_of_a_link_works_and_there_are_few(
    new_browser: NewBrowser, ask_for_link: AskForLink
) -> None:
    asking, other = new_browser(), new_browser()
    token = await ask_for_link(asking, ADA)
    codes = [(await use(other, token=token)).json()["code"] for _ in range(CODES_PER_LINK)]

    assert (await use(other, token=token)).json()["code"] == "link-invalid"
    if codes[0] != codes[-1]:
        assert (await use(asking, code=codes[0])).status_code == 403
    assert (await use(asking, code=codes[-1])).status_code == 200


async def test_opening_the_link_does_not_use_it(
    new_browser: NewBrowser, ask_for_link: AskForLink
) -> None:
    asking, scanner = new_browser(), new_browser()
    token = await ask_for_link(asking, ADA)

    for method in ("GET", "HEAD", "OPTIONS"):
        for path in ("/sign-in", f"/sign-in?token={token}", f"/api/auth/session?token={token}"):
            answer = await scanner.request(method, path)
            assert "set-cookie" not in answer.headers

    assert (await use(asking, token=token)).status_code == 200


async def whose(browser: httpx2.AsyncClient, token: str) -> httpx2.Response:
    return await browser.post("/api/auth/link/account", json={"token": token})


async def operator_token(app: FastAPI, email: str, seen_secrets: set[str]) -> str:
    state = app.state
    async with state.database.write() as session:
        _, link = await operator_link(
            session, settings=state.settings, clock=state.clock, email=email
        )
    token = link.partition("#")[2]
    seen_secrets.add(token)
    return token


async def test_an_operators_link_shows_its_account_before_it_is_used(
    app: FastAPI, new_browser: NewBrowser, sign_in: SignIn, seen_secrets: set[str]
) -> None:
    token = await operator_token(app, "mallory@evil.example", seen_secrets)
    victim = await sign_in(ADA)

    nobody = await whose(new_browser(), token)
    signed_in = await whose(victim, token)

    told = {"email": "mallory@evil.example", "here": True}
    assert nobody.json() == told | {"signedInAs": None}
    assert signed_in.json() == told | {"signedInAs": ADA}
    assert "set-cookie" not in signed_in.headers
    assert await is_signed_in(victim)
    assert (await use(new_browser(), token=token)).status_code == 200


async def test_a_mailed_link_shows_its_account_and_the_browser_it_signs_in(
    new_browser: NewBrowser, ask_for_link: AskForLink
) -> None:
    asking, other = new_browser(), new_browser()
    token = await ask_for_link(asking, ADA)

    assert (await whose(asking, token)).json() == {"email": ADA, "here": True, "signedInAs": None}
    assert (await whose(other, token)).json() == {"email": ADA, "here": False, "signedInAs": None}
    assert (await use(asking, token=token)).status_code == 200


@pytest.mark.parametrize("kind", ["made up", "used", "expired", "suspended", "no token"])
async def test_an_invalid_link_reveals_nothing(
    *,
    app: FastAPI,
    new_browser: NewBrowser,
    ask_for_link: AskForLink,
    sign_in_admin: SignIn,
    advance: Advance,
    kind: str,
) -> None:
    admin = await sign_in_admin("root@example.com")
    browser = new_browser()
    token = await ask_for_link(browser, ADA)
    if kind == "made up":
        token = "A" * 43
    elif kind == "no token":
        token = "ada"
    elif kind == "used":
        await use(browser, token=token)
    elif kind == "expired":
        advance(timedelta(minutes=10))
    else:
        await use(browser, token=token)
        token = await ask_for_link(browser, ADA)
        (ada,) = [
            user["id"]
            for user in (await admin.get("/api/admin/users")).json()["users"]
            if user["email"] == ADA
        ]
        await admin.patch(f"/api/admin/users/{ada}", json={"status": "suspended"})

    answer = await whose(new_browser(), token)

    assert (answer.status_code, answer.json()["code"]) == (403, "link-invalid")
    assert ADA not in answer.text


async def test_asking_whose_a_link_is_counts_as_an_attempt(new_browser: NewBrowser) -> None:
    browser = new_browser()
    statuses = [(await whose(browser, f"{n:043}")).status_code for n in range(21)]

    assert statuses == [403] * 20 + [429]


async def test_a_link_works_once(new_browser: NewBrowser, ask_for_link: AskForLink) -> None:
    browser = new_browser()
    token = await ask_for_link(browser, ADA)
    verifier = dict(browser.cookies)
    await use(browser, token=token)

    again = new_browser()
    again.cookies.update(verifier)
    answer = await use(again, token=token)

    assert answer.status_code == 403
    assert answer.json()["code"] == "link-invalid"


@pytest.mark.both_databases
async def test_ten_uses_at_once_make_one_session(
    app: FastAPI, new_browser: NewBrowser, ask_for_link: AskForLink
) -> None:
    browser = new_browser()
    token = await ask_for_link(browser, ADA)
    verifier = dict(browser.cookies)

    async def one() -> int:
        racer = new_browser()
        racer.cookies.update(verifier)
        return (await use(racer, token=token)).status_code

    statuses = await asyncio.gather(*(one() for _ in range(10)))

    assert sorted(statuses) == [200] + [403] * 9


async def test_a_link_expires_after_ten_minutes(
    new_browser: NewBrowser, ask_for_link: AskForLink, advance: Advance
) -> None:
    browser = new_browser()
    token = await ask_for_link(browser, ADA)

    advance(timedelta(minutes=10))

    assert (await use(browser, token=token)).json()["code"] == "link-invalid"


@pytest.mark.parametrize("token", ["", "x", "'; DROP TABLE users; --", "ä" * 43, "A" * 43])
async def test_a_made_up_token_is_refused(new_browser: NewBrowser, token: str) -> None:
    assert (await use(new_browser(), token=token)).json()["code"] == "link-invalid"


@pytest.mark.parametrize(
    "body", [{}, {"token": "x", "code": "123456"}, {"code": "12345"}, {"code": "١٢٣٤٥٦"}, {"a": 1}]
)
async def test_a_malformed_attempt_is_a_422(
    new_browser: NewBrowser, body: dict[str, object]
) -> None:
    answer = await new_browser().post("/api/auth/session", json=body)

    assert answer.status_code == 422
    assert answer.json()["code"] == "invalid-request"


async def test_asking_again_in_the_same_browser_leaves_the_first_link_good(
    new_browser: NewBrowser, ask_for_link: AskForLink
) -> None:
    browser = new_browser()
    first = await ask_for_link(browser, ADA)
    await ask_for_link(browser, ADA)

    assert (await use(browser, token=first)).status_code == 200


async def test_the_cookies_over_http_on_this_machine(
    new_browser: NewBrowser, ask_for_link: AskForLink
) -> None:
    browser = new_browser()
    token = await ask_for_link(browser, ADA)
    answer = await use(browser, token=token)

    cookie = SimpleCookie(answer.headers.get_list("set-cookie")[0])["ocmt_session"]

    assert cookie["httponly"] is True
    assert cookie["samesite"] == "lax"
    assert cookie["path"] == "/"
    assert cookie["secure"] == ""
    assert cookie["domain"] == ""


async def test_a_session_ends_when_it_is_idle_for_two_weeks(
    sign_in: SignIn, advance: Advance
) -> None:
    browser = await sign_in(ADA)

    advance(IDLE_LIFE - timedelta(minutes=1))
    assert await is_signed_in(browser)
    advance(IDLE_LIFE - timedelta(minutes=1))
    assert await is_signed_in(browser)
    advance(IDLE_LIFE)
    assert not await is_signed_in(browser)


async def test_an_open_page_by_itself_keeps_no_session(sign_in: SignIn, advance: Advance) -> None:
    browser = await sign_in(ADA)

    for _ in range(27):
        advance(timedelta(hours=12))
        assert (await browser.get("/api/me")).status_code == 200
    advance(timedelta(hours=12))

    assert (await browser.get("/api/me")).status_code == 401


async def test_a_session_ends_after_ninety_days_however_busy(
    sign_in: SignIn, advance: Advance
) -> None:
    browser = await sign_in(ADA)

    for _ in range(8):
        advance(timedelta(days=11))
        assert await is_signed_in(browser)
    advance(timedelta(days=2))

    assert not await is_signed_in(browser)


async def test_signing_out_ends_the_session_and_notifies_open_sockets(
    app: FastAPI, sign_in: SignIn
) -> None:
    browser = await sign_in(ADA)
    cookies = dict(browser.cookies)
    session_id = (await browser.get("/api/auth/sessions")).json()["sessions"][0]["id"]

    with app.state.session_revocations.watch(session_id) as ended:
        assert (await browser.delete("/api/auth/session")).status_code == 204
        assert ended.is_set()

    browser.cookies.update(cookies)
    assert not await is_signed_in(browser)


async def test_sessions_are_listed_and_revoked_from_another(sign_in: SignIn) -> None:
    phone, laptop = await sign_in(ADA), await sign_in(ADA)
    sessions = (await laptop.get("/api/auth/sessions")).json()["sessions"]
    (other,) = [session["id"] for session in sessions if not session["current"]]

    assert len(sessions) == 2
    assert (await laptop.delete(f"/api/auth/sessions/{other}")).status_code == 204
    assert not await is_signed_in(phone)
    assert await is_signed_in(laptop)
    assert (await laptop.delete(f"/api/auth/sessions/{other}")).status_code == 404


async def test_the_page_learns_the_signed_in_user(sign_in: SignIn) -> None:
    me = (await (await sign_in(ADA)).get("/api/me")).json()

    assert me["user"].keys() == {"id", "email", "role"}
    assert (me["user"]["email"], me["user"]["role"]) == (ADA, "member")
    assert me["model"].keys() == {"provider", "model", "demo"}
    assert me["version"]
    assert me["mail"] is True


async def test_signing_in_replaces_the_session_of_that_browser(
    sign_in: SignIn, ask_for_link: AskForLink
) -> None:
    browser = await sign_in(ADA)
    token = await ask_for_link(browser, ADA)
    await use(browser, token=token)

    assert len((await browser.get("/api/auth/sessions")).json()["sessions"]) == 1


@pytest.mark.both_databases
async def test_the_database_holds_no_token_in_clear(
    app: FastAPI, sign_in: SignIn, ask_for_link: AskForLink, seen_secrets: set[str]
) -> None:
    browser = await sign_in(ADA)
    await ask_for_link(browser, ADA)
    seen_secrets.update(browser.cookies.values())

    assert len(seen_secrets) > 5
    dumped = await dump(app.state.database)
    assert not [secret for secret in seen_secrets if secret.encode() in dumped]


async def dump(database: Database) -> bytes:
    from ocmt_management.tables import Base

    rows: list[bytes] = []
    async with database.read() as session:
        for table in Base.metadata.sorted_tables:
            for row in await session.execute(table.select()):
                rows += [v if isinstance(v, bytes) else str(v).encode() for v in row]
    return b"\n".join(rows)
