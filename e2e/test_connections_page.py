"""Connecting an account in a browser, at a real authorization server: refused, done, ended.

The real agent gives its person the link, goes on by itself, and uses the account's API.
"""

import asyncio
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
from ocmt_testing.oidc_provider import (
    CLIENT_ID,
    CLIENT_SECRET,
    AuthorizationServer,
    authorization_server,
)
from ocmt_testing.system.chat import ChatPage, go_to
from ocmt_testing.system.looks import barriers, wider_than_their_place
from ocmt_testing.system.person import Person
from ocmt_testing.system.stack import Stack, eventually
from playwright.sync_api import Browser, Page, Route, expect

SCOPES = "openid Know which account it is\nnotes Read notes"
ACCOUNT = "a-person-with-a-rather-long-name-at-notes"


@contextmanager
def running_provider(redirect_uri: str) -> Iterator[AuthorizationServer]:
    """The authorization server, for a test that is not asynchronous."""
    found: list[AuthorizationServer] = []
    ready, done = threading.Event(), threading.Event()

    async def serve() -> None:
        async with authorization_server(redirect_uri) as server:
            found.append(server)
            ready.set()
            await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(60)
        yield found[0]
    finally:
        done.set()
        thread.join()


def lose_the_first(page: Page, *patterns: str) -> list[str]:
    """Break off the first request to each address, as Chromium does when the network changes.

    Returns the list to which their addresses are added.
    """
    lost: list[str] = []

    def break_off(route: Route) -> None:
        if route.request.url in lost:
            route.fallback()
        else:
            lost.append(route.request.url)
            route.abort("internetdisconnected")

    for pattern in patterns:
        page.route(pattern, break_off)
    return lost


def go_to_notes(page: Page, provider: AuthorizationServer) -> None:
    page.get_by_role("button", name="Notes", exact=True).click()
    page.get_by_label("Read notes").check()
    page.get_by_role("button", name="Continue to Notes").click()
    page.wait_for_url(f"{provider.url}/**")


def provider_calls(provider: AuthorizationServer) -> list[str]:
    """The calls of its API that the provider served."""
    with httpx2.Client(trust_env=False) as client:
        found: list[str] = client.post(f"{provider.url}/control", json={}).json()["api"]
    return found


def test_an_account_is_refused_connected_tested_and_disconnected(
    stack: Stack, browser: Browser
) -> None:
    with (
        running_provider(f"{stack.url}/api/connections/callback") as provider,
        ChatPage(browser, width=360, height=740) as chat,
    ):
        page = chat.page
        person = Person(stack, chat, "admin@localhost")
        lost = lose_the_first(page, "**/assets/settings-*.js", "**/api/admin/integrations")
        go_to(page, "Settings")
        form = page.locator("settings-oauth-clients")
        form.get_by_role("button", name=re.compile("(Set up|Change) Own provider")).click()
        assert any("/assets/" in url for url in lost)
        assert f"{stack.url}/api/admin/integrations" in lost
        for label, value in (
            ("Name", "Notes"),
            ("Authorization endpoint", f"{provider.url}/auth"),
            ("Token endpoint", f"{provider.url}/token"),
            ("Issuer (if it sends one)", provider.url),
            ("Revocation endpoint (if it has one)", f"{provider.url}/token/revocation"),
            ("Userinfo endpoint (tells the account)", f"{provider.url}/me"),
            ("Address of its API", f"{provider.url}/api"),
            ("Hosts that tokens may go to, separated by spaces", provider.url.partition("//")[2]),
            ("Scopes, one per line, each with what it permits", SCOPES),
            ("Client id", CLIENT_ID),
            ("Client secret", CLIENT_SECRET),
        ):
            form.get_by_label(label, exact=True).fill(value)
        assert (barriers(page), wider_than_their_place(page)) == ([], [])
        form.get_by_role("button", name="Save", exact=True).click()
        expect(page.get_by_text("Own provider is set up")).to_be_visible()

        page.goto(f"{stack.url}/")
        chat.send(
            'use: ocmt_link_for_person {"to": "account", "provider": "Notes"}\n'
            "once `[OCMT] I connected an account of Notes`: use: ocmt_api "
            '{"connection": "notes", "url": "/first"}'
        )
        person.hears("/connections?provider=own")
        page.goto(f"{stack.url}/connections?provider=own")
        expect(page.get_by_label("Read notes")).to_be_visible()
        go_to_notes(page, provider)
        page.get_by_placeholder("Enter any login").fill(ACCOUNT)
        page.get_by_placeholder("and password").fill("x")
        page.get_by_role("button", name="Sign-in").click()
        page.get_by_text("Cancel").click()
        expect(page.get_by_text("You did not allow it, so nothing was connected.")).to_be_visible()
        expect(page.get_by_text("Nothing is connected yet.")).to_be_visible()
        assert page.url == f"{stack.url}/connections", "a reload does not tell it again"

        go_to_notes(page, provider)
        page.get_by_role("button", name="Continue").click()
        expect(page.get_by_text("Connected. Your agent can use it")).to_be_visible()
        notes = page.get_by_role("article", name="Notes")
        expect(notes).to_contain_text(f"{ACCOUNT}@as.example")
        # The agent, which waits for it, may have used it already.
        expect(notes).to_contain_text(re.compile("not used yet|GET 127.0.0.1"))
        page.goto(f"{stack.url}/")
        person.hears(ACCOUNT)
        expect(chat.questions.filter(has_text="[OCMT]")).to_have_count(0)
        chat.send(
            'use: ocmt_api {"connection": "notes", "method": "POST", "url": "/second", '
            '"body": {"text": "from the agent"}}'
        )
        card = person.decision(
            eventually(
                lambda: next((one["number"] for one in person.approvals()), None),
                within_s=60,
                what="the call waits",
            )
        )
        expect(card).to_contain_text("from the agent")
        assert provider_calls(provider) == ["GET /api/first"]
        card.get_by_role("button", name="Allow once").click()
        eventually(
            lambda: provider_calls(provider) == ["GET /api/first", "POST /api/second"],
            within_s=60,
            what="the allowed call is made",
        )
        expect(chat.page.get_by_role("button", name="Stop")).to_have_count(0, timeout=120_000)
        go_to(page, "Connections")
        said = stack.ocmt("vault", "--rotate", "--data", str(stack.data))
        assert "is no longer used or stored" in said, "with a new key its tokens are read as before"
        notes.get_by_role("button", name="Test").click()
        expect(notes.get_by_text("Tested.")).to_be_visible()
        notes.get_by_text("What it may do").click()
        expect(notes.get_by_label("Reading with Notes")).to_have_value("allow")
        notes.get_by_label("Changing with Notes").select_option("deny")
        expect(notes.get_by_label("Changing with Notes")).to_have_value("deny")
        page.get_by_role("button", name="API key").click()
        expect(page.get_by_label("Host")).to_be_visible()
        assert (barriers(page), wider_than_their_place(page)) == ([], [])
        page.set_viewport_size({"width": 1280, "height": 740})
        page.emulate_media(color_scheme="dark", reduced_motion="reduce")
        assert (barriers(page), wider_than_their_place(page)) == ([], [])

        notes.get_by_role("button", name="Disconnect").click()
        notes.get_by_role("button", name="Disconnect?").click()
        expect(page.get_by_text("its access has ended there, too")).to_be_visible()
        expect(notes).to_have_count(0)
        assert chat.complaints == []
