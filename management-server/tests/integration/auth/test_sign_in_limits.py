"""Repeated requests for links to one address: its owner gets few mails and can still sign in."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from email.message import EmailMessage

import httpx2
import pytest
from fastapi import FastAPI
from ocmt_management.auth.sign_in import LINKS_PER_ADDRESS

ADA = "ada@example.com"

NewBrowser = Callable[[], httpx2.AsyncClient]
AskForLink = Callable[[httpx2.AsyncClient, str], Awaitable[str]]
BrowserAt = Callable[[str], httpx2.AsyncClient]


@pytest.fixture
def database_url() -> str:
    """SQLite only: the limits do not depend on the database."""
    return ""


@pytest.fixture
async def browser_at(app: FastAPI) -> AsyncIterator[BrowserAt]:
    """A browser at this network address."""
    async with AsyncExitStack() as stack:

        def open_one(host: str) -> httpx2.AsyncClient:
            client = httpx2.AsyncClient(
                transport=httpx2.ASGITransport(app, client=(host, 50_000)),
                base_url="http://127.0.0.1:3000",
                headers={"sec-fetch-site": "same-origin"},
            )
            stack.push_async_callback(client.aclose)
            return client

        yield open_one


@pytest.fixture
def attack(browser_at: BrowserAt) -> Callable[..., Awaitable[None]]:
    """Request links to an address from many networks."""

    async def ask(hosts: str, *, networks: int, each: int) -> None:
        for number in range(networks):
            stranger = browser_at(hosts.format(number))
            for _ in range(each):
                await stranger.post("/api/auth/link", json={"email": ADA})

    return ask


def token_in(mail: EmailMessage) -> str:
    text = mail.get_body(("plain",))
    assert text is not None
    found = re.search(r"/sign-in#([\w-]{43})", text.get_content())
    assert found is not None
    return found[1]


@pytest.mark.parametrize(
    ("hosts", "networks", "each"),
    [
        ("198.51.100.7", 1, 6),
        ("198.51.{}.7", 20, 5),
        ("2001:db8:{}::7", 20, 5),
        ("203.0.113.{}", 12, 1),
    ],
)
async def test_the_owner_signs_in_whatever_strangers_ask(
    app: FastAPI,
    browser_at: BrowserAt,
    attack: Callable[..., Awaitable[None]],
    mails: list[EmailMessage],
    hosts: str,
    networks: int,
    each: int,
) -> None:
    await attack(hosts, networks=networks, each=each)
    await app.state.mail_queue.delivered()
    owners = [browser_at(f"192.0.2.{number}") for number in range(LINKS_PER_ADDRESS)]

    answers = [await owner.post("/api/auth/link", json={"email": ADA}) for owner in owners]
    await app.state.mail_queue.delivered()

    assert [answer.status_code for answer in answers] == [202] * LINKS_PER_ADDRESS
    assert [mail["To"] for mail in mails] == [ADA] * LINKS_PER_ADDRESS
    for owner, mail in zip(owners, mails, strict=True):
        signed_in = await owner.post("/api/auth/session", json={"token": token_in(mail)})
        assert signed_in.json()["user"]["email"] == ADA


async def test_a_link_signs_in_no_browser_that_did_not_ask(
    app: FastAPI,
    browser_at: BrowserAt,
    attack: Callable[..., Awaitable[None]],
    mails: list[EmailMessage],
) -> None:
    await attack("198.51.{}.7", networks=4, each=5)
    await app.state.mail_queue.delivered()
    for_another = browser_at("192.0.2.7")
    await for_another.post("/api/auth/link", json={"email": "eve@example.com"})

    shown = await for_another.post("/api/auth/session", json={"token": token_in(mails[0])})

    assert re.fullmatch(r"\d{6}", shown.json()["code"])


async def test_a_browser_waits_no_longer_than_a_link_lives(
    app: FastAPI,
    browser_at: BrowserAt,
    attack: Callable[..., Awaitable[None]],
    mails: list[EmailMessage],
    advance: Callable[[timedelta], None],
) -> None:
    await attack("198.51.{}.7", networks=1, each=5)
    owner = browser_at("192.0.2.7")
    await owner.post("/api/auth/link", json={"email": ADA})
    advance(timedelta(minutes=10))
    await app.state.mail_queue.delivered()
    sent = len(mails)
    await browser_at("203.0.113.1").post("/api/auth/link", json={"email": ADA})
    await app.state.mail_queue.delivered()

    assert len(mails) == sent + 1
    shown = await owner.post("/api/auth/session", json={"token": token_in(mails[-1])})
    assert "code" in shown.json()


async def test_answers_do_not_reveal_which_addresses_are_known(
    app: FastAPI, browser_at: BrowserAt
) -> None:
    async def answers(email: str, host: str) -> list[tuple[int, str]]:
        browser = browser_at(host)
        asked = [await browser.post("/api/auth/link", json={"email": email}) for _ in range(5)]
        return [(answer.status_code, answer.text) for answer in asked]

    known = await answers(ADA, "198.51.100.1")
    assert await answers("mallory@evil.example", "198.51.100.2") == known
    assert known == [known[0]] * 5


async def test_many_strangers_do_not_close_the_door_for_others(browser_at: BrowserAt) -> None:
    for number in range(90):
        stranger = browser_at(f"198.51.{number}.7")
        for letter in "abc":
            email = f"{letter}{number}@elsewhere.org"
            await stranger.post("/api/auth/link", json={"email": email})
            await stranger.post("/api/auth/session", json={"token": "x" * 43})

    owner = browser_at("192.0.2.7")
    assert (await owner.post("/api/auth/link", json={"email": ADA})).status_code == 202
    assert (await owner.post("/api/auth/session", json={"token": "x" * 43})).status_code == 403
