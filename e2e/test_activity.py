"""What keeps an agent awake, with idle times of seconds."""

import time
from collections.abc import Iterator

import pytest
from ocmt_testing.system.chat import ChatPage
from ocmt_testing.system.stack import Stack, eventually
from playwright.sync_api import Browser

PAUSE_AFTER_MS = 20_000  # counted from the question, so more than an answer takes
STOP_AFTER_MS = 6_000


@pytest.fixture
def quick(stack: Stack) -> Iterator[Stack]:
    """The same system with short idle times, set as an operator sets them."""
    settings = stack.data / "agent.env"
    usual = settings.read_text()
    stack.down()
    settings.write_text(
        f"{usual}\nPAUSE_AFTER_MS={PAUSE_AFTER_MS}\nSTOP_AFTER_MS={STOP_AFTER_MS}\n"
        "HIBERNATION_CHECK_INTERVAL=500\n"
    )
    stack.up()
    try:
        yield stack
    finally:
        stack.down()
        settings.write_text(usual)
        stack.up()


@pytest.mark.parametrize("stack", ["docker"], indirect=True)
@pytest.mark.timeout(1800)
def test_conversation_keeps_an_agent_awake_and_a_silent_tab_does_not(
    quick: Stack, browser: Browser
) -> None:
    with ChatPage(browser) as chat:
        chat.sign_in(quick.link("quiet@example.org"))
        chat.ask("Hello")
        user = chat.user_id()
        before = quick.events(user)

        def moved_to() -> list[str]:
            new = [event for event in quick.events(user) if event not in before]
            return [e["toState"] for e in new if e["toState"] != e["fromState"]]

        talking_until = time.monotonic() + 1.5 * PAUSE_AFTER_MS / 1000
        while time.monotonic() < talking_until:
            chat.ask("Still here")
        assert moved_to() == []

        eventually(
            lambda: moved_to() == ["paused", "stopped"],
            within_s=240,
            what="an idle agent is paused, and then stopped",
        )
        chat.wait_for_pill("asleep")
        assert chat.sockets_closed == []
        assert len(chat.sockets_opened) == 1

        chat.ask("Awake again?")
        assert chat.sockets_closed == []
        assert len(chat.sockets_opened) == 1
