"""The real agent uses tools with its person's keys, and waits for their decisions."""

import time
from typing import Any

import pytest
from ocmt_testing.system.chat import ChatPage, client_of
from ocmt_testing.system.stack import Stack, eventually
from ocmt_testing.system.tools import tool_servers
from playwright.sync_api import Browser, Locator, expect

ANSWER_TIMEOUT_MS = 60_000
NOTES_KEY, MAIL_KEY = "key-for-notes-0123456789", "key-for-mail-0123456789"

FILESYSTEM = {
    "name": "@modelcontextprotocol/server-filesystem",
    "version": "2026.8.31",
    "integrity": (
        "sha512-kKaFkyAh6oipvc9+EAbJ552JafnMnOq5nzmzWkp1jJdBhTAAGpmIpWihUG1+rfNhmEFM98gUZDdCHCDD4v6a7Q=="
    ),
    "arguments": ["/tmp"],
}


class Person:
    """A user with the chat open, whose agent does what the message says."""

    def __init__(self, stack: Stack, chat: ChatPage, email: str) -> None:
        self.chat = chat
        self.stack = stack
        chat.sign_in(stack.link(email))
        self.id = chat.user_id()
        model = {"provider": "openai", "model": "any", "key": "sk-0123456789"}
        self.sent("PUT", "/api/model", model)
        self.said("say: hello", "hello.")

    def add_server(self, name: str, url: str, header: str, key: str) -> dict[str, Any]:
        body = {"name": name, "url": url, "credentialName": header, "credential": key}
        return self.sent("POST", "/api/tools/servers", body)

    def rule(self, server: dict[str, Any], rule: str, tool: str | None = None) -> None:
        path = f"/api/tools/servers/{server['id']}/rule"
        self.sent("PUT", path, {"tool": tool, "rule": rule})

    def sent(self, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        with client_of(self.stack, self.chat) as api:
            answer = api.request(method, path, json=body)
        assert answer.is_success, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def said(self, message: str, answer: str) -> None:
        """Send a message, and wait for the end of an answer with these words."""
        self.chat.send(message)
        self.hears(answer)
        expect(self.chat.page.get_by_role("button", name="Stop")).to_have_count(
            0, timeout=ANSWER_TIMEOUT_MS
        )

    def hears(self, words: str) -> None:
        expect(self.chat.answers.filter(has_text=words)).to_have_count(1, timeout=ANSWER_TIMEOUT_MS)

    def decision(self, number: int) -> Locator:
        card = self.chat.page.get_by_role("article", name=f"Decision {number}", exact=True)
        allow = card.get_by_role("button", name="Allow once")
        expect(allow).to_be_enabled(timeout=ANSWER_TIMEOUT_MS)
        return card


def test_the_agent_uses_tools_and_waits_for_decisions(stack: Stack, browser: Browser) -> None:
    with (
        tool_servers(NOTES_KEY, f"Bearer {MAIL_KEY}") as (notes, mail),
        ChatPage(browser) as chat,
    ):
        person = Person(stack, chat, "tools@example.org")

        # Servers that are added while the conversation is open are used in its next message.
        server = person.add_server("Notes", notes.url, "X-Api-Key", NOTES_KEY)
        person.rule(server, "allow")
        person.said('use: notes__echo {"text": "first"}', '["echo", {"text": "first"}')
        other = person.add_server("Mail", mail.url, "Authorization", MAIL_KEY)
        person.rule(other, "allow")
        person.said('use: mail__read_note {"text": "second"}', '["read_note", {"text": "second"}')
        assert (notes.credentials, mail.credentials) == ([NOTES_KEY], [f"Bearer {MAIL_KEY}"])

        # In time.
        person.rule(server, "ask")
        chat.send('use: notes__echo {"text": "third"}')
        card = person.decision(1)
        expect(card).to_contain_text("third")
        assert notes.calls.total() == 1
        card.get_by_role("button", name="Allow once").click()
        person.hears('["echo", {"text": "third"}')
        assert notes.calls.total() == 2

        # No.
        chat.send('use: notes__echo {"text": "fourth"}')
        person.decision(2).get_by_role("button", name="Do not allow").click()
        person.hears("Your person said no to call number 2")
        assert notes.calls.total() == 2

        # After the agent went on and sleeps.
        chat.send('use: notes__echo {"text": "say: fifth"}')
        card = person.decision(3)
        chat.page.get_by_role("button", name="Stop").click()
        stack.hibernate(person.id, "pause")
        chat.wait_for_pill("asleep")
        decided_s = time.monotonic()
        card.get_by_role("button", name="Allow once").click()
        person.hears('fifth"}')
        took_s = time.monotonic() - decided_s
        print(f"from the decision to the answer: {took_s:.2f} s")
        assert notes.calls.total() == 3
        assert chat.complaints == []


@pytest.mark.parametrize("stack", ["docker"], indirect=True)
def test_the_agent_uses_a_package_in_its_container(stack: Stack, browser: Browser) -> None:
    with ChatPage(browser) as chat:
        person = Person(stack, chat, "admin@localhost")
        offer = {"name": "Files", "package": FILESYSTEM}
        server = person.sent("POST", "/api/admin/tools/servers", offer)
        path = f"/api/tools/servers/{server['id']}"
        person.sent("PUT", f"{path}/connection", {})
        eventually(
            lambda: person.sent("POST", f"{path}/refresh", {})["tools"],
            within_s=120,
            what="the package is installed and its tools are listed",
            every_s=1,
        )
        person.rule(server, "allow")

        person.said(
            'use: files__write_file {"path": "/tmp/note", "content": "hello"}', "Successfully"
        )
        person.said('use: files__read_text_file {"path": "/tmp/note"}', '"text": "hello"')

        # The definition, with its credential, was in the killed server's memory only.
        before = stack.kill_agent_server()
        eventually(
            lambda: stack.status()["servers"]["agent"].get("pid") not in (None, before),
            within_s=60,
            what="the agent server is started again",
        )
        person.said("use: files__list_allowed_directories", "Allowed directories")
        assert chat.complaints == []
