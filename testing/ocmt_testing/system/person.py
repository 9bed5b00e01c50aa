"""A user with the chat open, whose agent does what the message says."""

from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, expect

from ocmt_testing.system.chat import ChatPage, client_of
from ocmt_testing.system.stack import Stack

ANSWER_TIMEOUT_MS = 180_000


class Person:
    """Signs in by the operator's link, and waits for the agent's first answer."""

    def __init__(self, stack: Stack, chat: ChatPage, email: str) -> None:
        self.chat = chat
        self.stack = stack
        chat.sign_in(stack.link(email))
        self.id = chat.user_id()
        model = {"provider": "openai", "model": "any", "key": "sk-0123456789"}
        self.sent("PUT", "/api/model", model)
        self.said("say: hello", "hello.")

    @property
    def state_folder(self) -> Path:
        """The agent's files on its host."""
        return self.stack.data / "agent" / "agents" / self.stack.home(self.id) / "state"

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

    def approvals(self) -> list[dict[str, Any]]:
        """The calls that waited or wait for this person, newest first."""
        with client_of(self.stack, self.chat) as api:
            answer = api.get("/api/approvals")
        assert answer.is_success, answer.text
        found: list[dict[str, Any]] = answer.json()["approvals"]
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
        """The card of a call, once it takes a decision."""
        card = self.chat.page.get_by_role("article", name=f"Decision {number}", exact=True)
        allow = card.get_by_role("button", name="Allow once")
        expect(allow).to_be_enabled(timeout=ANSWER_TIMEOUT_MS)
        return card
