"""A user chats; the agent sleeps, is stopped, is killed; the conversation continues."""

import os
import signal

import pytest
from ocmt_testing.system.chat import ChatPage
from ocmt_testing.system.stack import Stack, eventually
from playwright.sync_api import Browser, expect


@pytest.mark.parametrize("stack", ["process", "docker"], indirect=True)
def test_the_first_person_signs_in_chats_and_nothing_ends_the_conversation(
    stack: Stack, browser: Browser
) -> None:
    with ChatPage(browser) as chat:
        chat.sign_in(stack.first_link)
        chat.wait_for_pill("awake")
        marks = [chat.ask("Hello, who are you?")]
        user = chat.user_id()

        stack.hibernate(user, "pause")
        chat.wait_for_pill("asleep")
        assert stack.state(user) == "paused"
        marks.append(chat.ask("Are you still there after a nap?"))
        chat.wait_for_pill("awake")

        stack.hibernate(user, "stop")
        chat.wait_for_pill("asleep")
        assert stack.state(user) == "stopped"
        assert stack.gateway_pids(user) == []
        marks.append(chat.ask("And after a deep sleep?"))
        chat.wait_for_pill("awake")
        assert not chat.sockets_closed, "the page's socket was to survive every sleep"

        before = stack.kill_agent_server()
        eventually(
            lambda: stack.status()["servers"]["agent"].get("pid") not in (None, before),
            within_s=60,
            what="the agent server is started again",
        )
        marks.append(chat.ask("The agent server was killed; can you hear me?"))

        gateway = stack.gateway_pids(user)[0]
        os.kill(gateway, signal.SIGKILL)
        eventually(
            lambda: gateway not in stack.gateway_pids(user), within_s=30, what="the gateway is gone"
        )
        marks.append(chat.ask("And your own process was killed as well?"))

        chat.page.reload()
        for mark in marks:
            expect(chat.questions.filter(has_text=mark)).to_have_count(1, timeout=60_000)
            expect(chat.answers.filter(has_text=mark)).to_have_count(1)
        assert chat.complaints == []


def test_the_page_works_on_a_phone(stack: Stack, browser: Browser) -> None:
    with ChatPage(browser, width=390, height=844) as chat:
        chat.sign_in(stack.link("phone@example.org"))
        chat.ask("Hello from a phone")
        overflow = chat.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        assert overflow == 0
        assert chat.complaints == []
