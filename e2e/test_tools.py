"""The real agent uses tools with its person's keys, waits for their decisions, and takes files."""

import base64
import re
import time

import pytest
from ocmt_testing.everything import everything
from ocmt_testing.system.chat import ChatPage
from ocmt_testing.system.looks import barriers, overflow
from ocmt_testing.system.person import Person
from ocmt_testing.system.stack import Stack, eventually
from ocmt_testing.system.tools import tool_servers
from playwright.sync_api import Browser, FilePayload, Locator, expect

NOTES_KEY, MAIL_KEY = "key-for-notes-0123456789", "key-for-mail-0123456789"

DOT = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)

FILESYSTEM = {
    "name": "@modelcontextprotocol/server-filesystem",
    "version": "2026.8.31",
    "integrity": (
        "sha512-kKaFkyAh6oipvc9+EAbJ552JafnMnOq5nzmzWkp1jJdBhTAAGpmIpWihUG1+rfNhmEFM98gUZDdCHCDD4v6a7Q=="
    ),
    "arguments": ["/tmp"],
}


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
        expect(cards(chat, "Used read_note of mail")).to_contain_text("second")
        person.said("run: cat /nonexistent", "exited with code 1")
        failed = cards(chat, "Ran a command")
        expect(failed).to_contain_text("failed")

        # In time.
        person.rule(server, "ask")
        chat.send('use: notes__echo {"text": "third"}')
        card = person.decision(1)
        expect(card).to_contain_text("third")
        expect(cards(chat, "Using echo of notes")).to_contain_text("running")
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

        chat.page.reload()
        expect(cards(chat, "Used echo of notes").last).to_be_visible()
        attaches_files(person, browser)
        names_the_agent(person)
        assert chat.complaints == []


def cards(chat: ChatPage, title: str) -> Locator:
    """The cards of calls with this title, of the messages near the screen."""
    steps = chat.page.get_by_role("list", name="What your agent did")
    return steps.get_by_role("listitem").filter(has_text=title)


def attaches_files(person: Person, browser: Browser) -> None:
    """Files are kept with the draft, reach the agent, and are there on another device."""
    chat, page = person.chat, person.chat.page
    chosen: list[FilePayload] = [
        {"name": "dot.png", "mimeType": "image/png", "buffer": DOT},
        {"name": "<b>page</b>.html", "mimeType": "text/html", "buffer": b"<script>1</script>"},
        {"name": "large.bin", "mimeType": "", "buffer": bytes(12 * 1024 * 1024)},
        {"name": "too-large.bin", "mimeType": "", "buffer": bytes(7 * 1024 * 1024)},
    ]
    page.locator("message-composer input.any").set_input_files(chosen)
    attached = page.get_by_role("list", name="Attached files").get_by_role("listitem")
    expect(page.get_by_role("alert")).to_contain_text("too-large.bin was left out")
    expect(attached).to_have_count(3)
    assert barriers(page) == []
    page.reload()
    expect(attached).to_have_count(3)
    person.said("say: received", "received.")
    expect(attached).to_have_count(0)
    kept = person.state_folder / "media" / "inbound"
    assert sorted(path.stat().st_size for path in kept.iterdir()) == [
        18,
        len(DOT),
        12 * 1024 * 1024,
    ]

    # Another answer to it, in a conversation of its own.
    chat.answers.last.hover()
    chat.answers.last.get_by_role("button", name="Try again").click()
    expect(page).to_have_url(re.compile("/c/d-"))
    person.hears("received.")
    again = chat.questions.filter(has_text="say: received")
    expect(again.get_by_role("img", name="dot.png")).to_be_visible()

    with ChatPage(browser, width=360, height=740) as phone:
        # Playwright has one type for the cookies that it returns, and another for the same, set.
        phone.context.add_cookies(chat.context.cookies())  # type: ignore[arg-type]
        phone.page.goto(person.stack.url)
        question = phone.questions.filter(has_text="say: received")
        picture = question.get_by_role("img", name="dot.png")
        expect(picture).to_be_visible()
        assert picture.evaluate("one => one.naturalWidth") == 1
        link = question.get_by_role("link", name="<b>page</b>.html")
        served = phone.context.request.get(f"{person.stack.url}{link.get_attribute('href')}")
        assert served.body() == b"<script>1</script>"
        assert served.headers["content-disposition"] == "attachment"
        assert served.headers["content-type"] == "application/octet-stream"
        assert overflow(phone.page) == 0
        assert barriers(phone.page) == []
        assert phone.complaints == []


def names_the_agent(person: Person) -> None:
    page = person.chat.page
    page.goto(f"{person.stack.url}/agent")
    form = page.locator("agent-identity")
    form.get_by_label("Name", exact=True).fill("Fuchs")
    form.get_by_label("Emoji").fill("🦊")
    form.get_by_role("button", name="Save").click()
    expect(form.get_by_text("Saved.")).to_be_visible()
    assert barriers(page) == []
    page.goto(person.stack.url)
    expect(page).to_have_title("Fuchs")
    expect(page.get_by_role("link", name="Fuchs")).to_be_visible()
    expect(page.get_by_role("article", name="Fuchs").last).to_be_visible()
    assert "- **Name:** Fuchs\n" in (person.state_folder / "workspace" / "IDENTITY.md").read_text()


@pytest.mark.nightly
def test_the_agent_uses_server_everything_with_its_persons_header(
    stack: Stack, browser: Browser
) -> None:
    with everything("X-Api-Key", NOTES_KEY) as server, ChatPage(browser) as chat:
        person = Person(stack, chat, "everything@example.org")
        added = person.add_server("Everything", server.url, "X-Api-Key", NOTES_KEY)
        assert added["trouble"] is None
        assert {"echo", "get-sum"} <= {tool["name"] for tool in added["tools"]}
        person.rule(added, "allow")

        person.said('use: everything__echo {"message": "first"}', "Echo: first")
        person.said('use: everything__get-sum {"a": 2, "b": 40}', "is 42")
        assert server.calls == {"echo": 1, "get-sum": 1}

        # With another person's key it is refused, and the agent is told what to do.
        person.sent("PUT", f"/api/tools/servers/{added['id']}/connection", {"credential": MAIL_KEY})
        person.said('use: everything__echo {"message": "second"}', "rejected the credential")
        assert server.calls["echo"] == 1
        assert server.calls["refused"] > 0
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
