"""Models and money in the browser: a key is checked, a model picked in the chat, its cost plotted.

The chat says that a soft limit is passed; a hard one refuses and does not lock the agent. A shared
key is used without being seen, in its provider's own shape, and ended honestly.
"""

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from ocmt_testing.management.provider import anthropic_chunks, openai_chunks
from ocmt_testing.system.chat import ANSWER_TIMEOUT_MS, ChatPage
from ocmt_testing.system.stack import Stack, eventually
from playwright.sync_api import Browser, Page, expect

GOOD_KEY = "sk-a-good-key-0123456789"
SHARED_KEY = "sk-ant-shared-key-9876543210"
MODELS = ["gpt-5.4-mini", "gpt-5.5", "gpt-6-astra"]
CLAUDE = "claude-opus-5"


class Providers(BaseHTTPRequestHandler):
    """In OpenAI's and Anthropic's place: takes a key each, and answers with the model's name."""

    def do_GET(self) -> None:
        if self.headers["authorization"] == f"Bearer {GOOD_KEY}":
            self._answer(200, {"data": [{"id": name} for name in MODELS]})
        elif self.headers["x-api-key"] == SHARED_KEY:
            self._answer(200, {"data": [{"id": CLAUDE}]})
        else:
            self._answer(401, {"error": {"message": "Incorrect API key provided."}})

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers["content-length"])).decode()
        asked, mark = json.loads(text), re.findall(r"mark-[0-9a-f]{8}", text)[-1:]
        chunks = anthropic_chunks if self.path.endswith("/messages") else openai_chunks
        body = b"".join(chunks(f"I am {asked['model']}. {mark}", usage=(100_000, 10_000)))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _answer(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def paid(tmp_path: Path) -> Iterator[Stack]:
    """A system of its own, whose providers are ours."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Providers)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    running = Stack(runtime="process", data=tmp_path / "data")
    running.data.mkdir(mode=0o700)
    (running.data / "management.env").write_text(
        f"OPENAI_BASE_URL={url}/v1\nANTHROPIC_BASE_URL={url}\n"
    )
    running.first_link = running.up()
    try:
        yield running
    finally:
        running.down()
        server.shutdown()
        thread.join()
        server.server_close()


class Money:
    """One admin's page."""

    def __init__(self, paid: Stack, chat: ChatPage) -> None:
        self.paid = paid
        self.chat = chat
        self.page: Page = chat.page

    def settings(self) -> None:
        self.page.goto(f"{self.paid.url}/settings")

    def is_answered_by(self, model: str) -> None:
        mark = self.chat.ask("Who are you?")
        expect(self.chat.answers.filter(has_text=mark)).to_contain_text(f"I am {model}.")

    def is_refused(self, why: str) -> None:
        self.chat.send("Who are you?")
        expect(self.page.get_by_text(why).first).to_be_visible(timeout=ANSWER_TIMEOUT_MS)

    def pick(self, search: str, model: str) -> None:
        self.page.get_by_role("button", name="Model:").click()
        self.page.get_by_role("searchbox", name="Search models").fill(search)
        panel = self.page.get_by_role("dialog", name="Choose a model")
        expect(panel.get_by_role("listitem")).to_have_count(1)
        panel.get_by_role("button", name=model).click()
        expect(self.page.get_by_role("button", name=f"Model: {model}")).to_be_visible()

    def limit(self, label: str, amount: str, *, own: bool = False) -> None:
        """Change a limit of all together, or one's own."""
        self.settings()
        costs = self.page.locator("settings-costs")
        costs.get_by_role("button", name="Change the limits of").nth(int(own)).click()
        costs.get_by_label(label).fill(amount)
        costs.get_by_role("button", name="Save").click()
        expect(costs.get_by_text("Saved.")).to_be_visible()

    def costs_shown(self) -> bool:
        """Costs are written every few seconds."""
        self.settings()
        expect(self.page.locator("settings-usage p").first).to_be_visible()
        return self.page.locator("settings-usage day-plot li").count() == 1


def test_a_model_is_chosen_used_paid_limited_and_shared(paid: Stack, browser: Browser) -> None:
    with ChatPage(browser) as chat:
        chat.sign_in(paid.first_link)
        chat.wait_for_pill("awake")
        money, page = Money(paid, chat), chat.page

        # The key is checked when it is saved, and the models are those that the provider lists.
        money.settings()
        model = page.locator("settings-model")
        model.get_by_role("radio", name="OpenAI Needs a key").click()
        model.get_by_label("Key", exact=True).fill("sk-a-wrong-key-0123456789")
        model.get_by_role("button", name="Save").click()
        expect(model.get_by_text("OpenAI rejects this key")).to_be_visible()
        model.get_by_label("Key", exact=True).fill(GOOD_KEY)
        model.get_by_role("button", name="Save").click()
        expect(model.get_by_text("Saved. Your agent uses this model")).to_be_visible()
        model.get_by_label("Model", exact=True).focus()
        expect(model.locator("datalist#models option")).to_have_count(len(MODELS))

        # Another one is picked in the chat.
        page.goto(paid.url)
        money.pick("5.5", "gpt-5.5")
        money.is_answered_by("gpt-5.5")

        # What it cost is plotted, for the user and for the admin.
        eventually(money.costs_shown, within_s=60, what="the cost is shown")
        expect(page.locator("settings-costs day-plot li")).to_have_count(1)

        # The chat says that a soft limit is passed; a hard one refuses.
        money.limit("Warn per month from, $", "0.5", own=True)
        page.goto(paid.url)
        expect(page.get_by_text("for models this month")).to_be_visible()
        money.limit("Limit per day, $", "0.5")
        expect(page.locator("settings-costs")).to_contain_text("limit reached")
        page.goto(paid.url)
        money.is_refused("amount for models is used up for today")

        # It is raised, and the next message is answered.
        money.limit("Limit per day, $", "50")
        page.goto(paid.url)
        money.is_answered_by("gpt-5.5")

        # A shared key is picked without being seen; its provider is asked in its own shape.
        money.settings()
        shared = page.locator("settings-shared-keys")
        shared.get_by_label("Share a key for").select_option("anthropic")
        shared.get_by_label("Key", exact=True).fill(SHARED_KEY)
        shared.get_by_role("button", name="Share", exact=True).click()
        expect(shared.get_by_text("Saved.")).to_be_visible()
        page.goto(paid.url)
        page.get_by_role("button", name="Model:").click()
        expect(page.get_by_text("provided by an admin")).to_be_visible()
        page.keyboard.press("Escape")
        money.pick("opus", CLAUDE)
        money.is_answered_by(CLAUDE)

        # Once it is not shared any more, the chat says so, and another model answers.
        money.settings()
        shared.get_by_role("button", name="Stop sharing").click()
        shared.get_by_role("button", name="Stop sharing?").click()
        expect(shared.get_by_text("is not shared any more")).to_be_visible()
        page.goto(paid.url)
        money.is_refused("no admin provides it to you now")
        money.pick("astra", "gpt-6-astra")
        money.is_answered_by("gpt-6-astra")
        assert chat.complaints == []
