"""Choosing a model in the browser: its key is checked, its models are offered, its cost is shown.

A budget that is used up says so in the chat, and does not lock the agent.
"""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from ocmt_testing.management.provider import openai_chunks
from ocmt_testing.system.chat import ChatPage
from ocmt_testing.system.stack import Stack
from playwright.sync_api import Browser, expect

GOOD_KEY = "sk-a-good-key-0123456789"
MODELS = ["gpt-5.5", "gpt-5.4-mini", "gpt-6-astra"]


class OpenAi(BaseHTTPRequestHandler):
    """In OpenAI's place: takes one key, lists models, and echoes the last message."""

    def do_GET(self) -> None:
        if self.headers["authorization"] != f"Bearer {GOOD_KEY}":
            self._answer(401, {"error": {"message": "Incorrect API key provided."}})
        else:
            self._answer(200, {"data": [{"id": name} for name in MODELS]})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        body = b"".join(openai_chunks("Dear ", "answer.", usage=(100_000, 10_000)))
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
    """A system of its own, whose OpenAI is ours."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), OpenAi)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    running = Stack(runtime="process", data=tmp_path / "data")
    running.data.mkdir(mode=0o700)
    (running.data / "management.env").write_text(
        f"OPENAI_BASE_URL=http://127.0.0.1:{server.server_port}/v1\n"
    )
    running.first_link = running.up()
    try:
        yield running
    finally:
        running.down()
        server.shutdown()
        thread.join()


def test_a_model_is_chosen_used_paid_and_limited(paid: Stack, browser: Browser) -> None:
    with ChatPage(browser) as chat:
        chat.sign_in(paid.first_link)
        chat.wait_for_pill("awake")
        page = chat.page
        page.goto(f"{paid.url}/settings")

        # The key is checked when it is saved.
        page.get_by_text("OpenAI", exact=True).click()
        page.get_by_label("Key", exact=True).fill("sk-a-wrong-key-0123456789")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_text("OpenAI does not take this key")).to_be_visible()
        page.get_by_label("Key", exact=True).fill(GOOD_KEY)
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_text("Saved. Your agent uses it")).to_be_visible()

        # Its models are those that the provider lists.
        page.get_by_label("Model", exact=True).focus()
        offered = page.locator("datalist#models option")
        expect(offered).to_have_count(len(MODELS))
        page.get_by_label("Model", exact=True).fill("gpt-5.5")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_text("Saved. Your agent uses it")).to_be_visible()

        page.goto(paid.url)
        chat.message_box.fill("What do you cost?")
        chat.message_box.press("Enter")
        expect(chat.answers.last).to_contain_text("Dear answer.", timeout=60_000)

        # What it cost: a bar, a line for the model, and a limit that an admin sets.
        page.goto(f"{paid.url}/settings")
        expect(page.locator("settings-usage .plot li")).to_have_count(1, timeout=60_000)
        expect(page.locator("settings-usage")).to_contain_text("$0.80")
        page.get_by_role("button", name="Change the limits of Everybody together").click()
        page.get_by_label("A day, at most $").fill("0.5")
        page.locator("settings-costs").get_by_role("button", name="Save").click()
        expect(page.locator("settings-costs")).to_contain_text("limit reached")

        page.goto(paid.url)
        chat.message_box.fill("And once more?")
        chat.message_box.press("Enter")
        expect(page.get_by_text("amount for models is used up for today")).to_be_visible(
            timeout=60_000
        )

        # The limit is raised, and the next message is answered.
        page.goto(f"{paid.url}/settings")
        page.get_by_role("button", name="Change the limits of Everybody together").click()
        page.get_by_label("A day, at most $").fill("50")
        page.locator("settings-costs").get_by_role("button", name="Save").click()
        expect(page.locator("settings-costs")).not_to_contain_text("limit reached")
        page.goto(paid.url)
        answers = chat.answers.count()
        chat.message_box.fill("And now?")
        chat.message_box.press("Enter")
        expect(chat.answers).to_have_count(answers + 1, timeout=60_000)
