"""Several conversations with one agent, on a laptop and a phone, with the real OpenClaw."""

import re

from ocmt_testing.system.chat import ChatPage, choose_model
from ocmt_testing.system.looks import barriers, overflow
from ocmt_testing.system.stack import Stack
from playwright.sync_api import Browser, Locator, Page, expect

ADDRESS = re.compile(r"/c/[0-9a-f-]{36}$")


def conversations(page: Page) -> Locator:
    return page.get_by_role("navigation", name="Conversations").get_by_role("listitem")


def acting(page: Page, title: str) -> Locator:
    """The entry of a conversation, with its actions open."""
    row = conversations(page).filter(has_text=title)
    row.get_by_role("button", name="Actions").click()
    return row


def delete(page: Page, title: str) -> None:
    row = acting(page, title)
    row.get_by_role("button", name="Delete").click()
    row.get_by_role("button", name="Delete?").click()


def test_conversations_run_side_by_side_and_are_named_found_and_deleted(
    stack: Stack, browser: Browser
) -> None:
    with ChatPage(browser) as chat:
        page = chat.page
        chat.sign_in(stack.link("admin@localhost"))
        choose_model(chat, provider="openai", model="any", key="sk-0123456789")
        chat.wait_for_pill("awake")
        chat.send("run: sleep 20; echo slept")
        expect(page.get_by_role("button", name="Stop")).to_be_visible(timeout=60_000)

        # Another one, while the first one works.
        page.get_by_role("button", name="New conversation").click()
        expect(page).to_have_url(ADDRESS)
        expect(page.get_by_role("heading", name="This is your own agent")).to_be_visible()
        chat.send("say: arrivederci")
        expect(chat.answers.filter(has_text="arrivederci")).to_have_count(1, timeout=60_000)
        main = conversations(page).filter(has_text="Main conversation")
        expect(main.get_by_text("unread", exact=True)).to_be_attached(timeout=60_000)
        trip = conversations(page).filter(has_text="say: arrivederci")
        expect(trip.get_by_text("working", exact=True)).to_have_count(0)
        chat.message_box.fill("half a thought")
        main.get_by_role("link").click()
        expect(chat.answers.filter(has_text="slept")).to_have_count(1)
        expect(chat.answers.filter(has_text="arrivederci")).to_have_count(0)
        expect(chat.message_box).to_have_value("")
        expect(main.get_by_text("unread", exact=True)).to_have_count(0)
        trip.get_by_role("link").click()
        expect(chat.message_box).to_have_value("half a thought")

        acting(page, "say: arrivederci").get_by_role("button", name="Rename").click()
        page.get_by_role("textbox", name="Name of the conversation").fill("Trip to Rome")
        page.keyboard.press("Enter")
        acting(page, "Trip to Rome").get_by_role("button", name="Pin").click()
        expect(conversations(page).first).to_contain_text("Trip to Rome")
        page.reload()
        expect(conversations(page).first).to_contain_text("Trip to Rome")
        expect(chat.answers.filter(has_text="arrivederci")).to_have_count(1)
        expect(page).to_have_title("Trip to Rome · OCMT")

        # `/new` begins one too, with what follows it.
        chat.send("/new say: buongiorno")
        expect(chat.answers.filter(has_text="buongiorno")).to_have_count(1, timeout=60_000)
        expect(conversations(page)).to_have_count(3)
        page.get_by_role("searchbox").fill("arrivederci")
        hits = page.get_by_role("listitem").filter(has_text="arrivederci")
        expect(hits.first).to_contain_text("Trip to Rome", timeout=30_000)
        page.get_by_role("searchbox").fill("")
        assert barriers(page) == []

        phone(chat, browser)

        conversations(page).filter(has_text="Trip to Rome").get_by_role("link").click()
        with ChatPage(browser) as other:
            other.context.add_cookies(chat.context.cookies())  # type: ignore[arg-type]
            other.page.goto(page.url)
            expect(other.answers.filter(has_text="arrivederci")).to_have_count(1)
            delete(page, "Trip to Rome")
            for one in (page, other.page):
                expect(one).to_have_url(f"{stack.url}/")
                expect(conversations(one)).to_have_count(2)
        page.reload()
        expect(conversations(page)).to_have_count(2)

        # Also while the agent works in it.
        page.get_by_role("button", name="New conversation").click()
        expect(page).to_have_url(ADDRESS)
        chat.send("run: sleep 60; echo awake")
        working = conversations(page).filter(has_text="run: sleep 60")
        expect(working.get_by_text("working", exact=True)).to_be_attached(timeout=60_000)
        delete(page, "run: sleep 60")
        expect(page).to_have_url(f"{stack.url}/", timeout=60_000)
        expect(conversations(page)).to_have_count(2)
        page.reload()
        expect(conversations(page)).to_have_count(2)
        assert chat.complaints == []


def phone(chat: ChatPage, browser: Browser) -> None:
    """The same in a sheet, on a second device."""
    with ChatPage(browser, width=360, height=740) as small:
        small.context.add_cookies(chat.context.cookies())  # type: ignore[arg-type]
        page = small.page
        page.goto(chat.page.url)
        expect(small.answers.filter(has_text="buongiorno")).to_have_count(1)
        menu = page.get_by_role("button", name=re.compile("^Menu"))
        menu.click()
        expect(conversations(page)).to_have_count(3)
        assert overflow(page) == 0
        assert barriers(page) == []
        conversations(page).filter(has_text="Trip to Rome").get_by_role("link").click()
        expect(page.get_by_role("dialog")).to_have_count(0)
        expect(small.answers.filter(has_text="arrivederci")).to_have_count(1)
        menu.click()
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
        assert overflow(page) == 0
