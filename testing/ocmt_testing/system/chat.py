"""The page in a browser, operated only through accessible roles and names."""

import re
import sys
import uuid
from contextlib import suppress
from types import TracebackType
from typing import Any

import httpx2
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Locator,
    Page,
    WebSocket,
    expect,
)
from playwright.sync_api import Error as PlaywrightError

from ocmt_testing.system.stack import Stack

ANSWER_TIMEOUT_MS = 120_000
PILL_TIMEOUT_MS = 150_000


class ChatPage:
    """One user's browser with the page. Records sockets and console errors."""

    def __init__(self, browser: Browser, *, width: int = 1280, height: int = 800) -> None:
        self.context: BrowserContext = browser.new_context(
            viewport={"width": width, "height": height}
        )
        self.page: Page = self.context.new_page()
        self.complaints: list[str] = []
        self.sockets_opened: list[WebSocket] = []
        self.sockets_closed: list[WebSocket] = []
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on(
            "console",
            lambda line: (
                self.complaints.append(line.text)
                if "Content Security Policy" in line.text
                else None
            ),
        )
        self.page.on("websocket", self._watch)

    def _watch(self, socket: WebSocket) -> None:
        self.sockets_opened.append(socket)
        socket.on("close", self._note_closed)

    def _note_closed(self, socket: WebSocket) -> None:
        self.sockets_closed.append(socket)

    def __enter__(self) -> "ChatPage":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._show_what_is_seen()
        self.context.close()

    def _show_what_is_seen(self) -> None:
        """Print what a person would see, for the report of a failed test."""
        with suppress(PlaywrightError):
            text = self.page.locator("body").aria_snapshot(timeout=5_000)
            print(f"{self.page.url}\n{text[:6_000]}\n{self.complaints}", file=sys.stderr)

    def sign_in(self, link: str) -> None:
        self.page.goto(link)
        self.page.get_by_role("button", name="Sign in", exact=True).click()
        expect(self.message_box).to_be_visible()

    def user_id(self) -> str:
        """The id of the signed-in user."""
        me = self.page.evaluate("fetch('/api/me').then(answer => answer.json())")
        return str(me["user"]["id"])

    @property
    def message_box(self) -> Locator:
        return self.page.get_by_role("textbox", name="Message")

    @property
    def pill(self) -> Locator:
        return self.page.get_by_role("status").and_(self.page.locator("[data-state]"))

    def wait_for_pill(self, *states: str) -> None:
        expect(self.pill).to_have_attribute(
            "data-state", re.compile("|".join(f"^{s}$" for s in states)), timeout=PILL_TIMEOUT_MS
        )

    def send(self, text: str) -> None:
        self.message_box.fill(text)
        self.message_box.press("Enter")

    def ask(self, text: str) -> str:
        """Send `text` with a unique mark, and wait for the answer with it. Returns the mark."""
        mark = f"mark-{uuid.uuid4().hex[:8]}"
        self.send(f"{text} ({mark})")
        answer = self.answers.filter(has_text=mark)
        expect(answer).to_have_count(1, timeout=ANSWER_TIMEOUT_MS)
        expect(self.page.get_by_role("button", name="Stop")).to_have_count(
            0, timeout=ANSWER_TIMEOUT_MS
        )
        return mark

    @property
    def answers(self) -> Locator:
        return self.page.get_by_role("article", name="Your agent")

    @property
    def questions(self) -> Locator:
        return self.page.get_by_role("article", name="You", exact=True)


def go_to(page: Page, name: str) -> None:
    """Follow a link to another view: in the sidebar, or behind the menu on a phone."""
    link = page.get_by_role("navigation", name="Pages").get_by_role("link", name=name)
    menu = page.get_by_role("button", name=re.compile("^Menu"))
    expect(link.or_(menu).first).to_be_visible()
    if menu.is_visible():
        menu.click()
    link.click()


def choose_model(chat: ChatPage, **model: Any) -> None:
    """Set the signed-in user's provider and model."""
    done = chat.page.evaluate(
        "model => fetch('/api/model', {method: 'PUT', body: JSON.stringify(model),"
        " headers: {'Content-Type': 'application/json'}}).then(answer => answer.status)",
        model,
    )
    assert done == 200


def client_of(stack: Stack, chat: ChatPage) -> httpx2.Client:
    """An HTTP client with the page's session, for any request."""
    cookies = {c["name"]: c["value"] for c in chat.context.cookies()}
    return httpx2.Client(
        base_url=stack.url,
        cookies=cookies,
        headers={"Origin": stack.url},
        timeout=60,
        trust_env=False,
    )
