"""The page in every state, with a scripted server where a real agent is seldom in it.

axe finds no barrier, nothing is wider than a phone, every problem is explained in words, and
nothing that a model writes is run or fetched.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ocmt_testing.system.chat import ChatPage, go_to
from ocmt_testing.system.looks import barriers, overflow
from ocmt_testing.system.stack import Stack
from playwright.sync_api import Browser, Page, StorageState, WebSocketRoute, expect

LOOKS = [(1280, 800, "light"), (1280, 800, "dark"), (390, 844, "light"), (390, 844, "dark")]
EVERYTHING = """## A plan

**Bold**, `code`, a [link](https://example.org/) and a list:

1. one
2. two

| day | task |
|---|---|
| Monday | a task whose description is long enough to make the table wider than a phone is |

```python
print("a line of code that is long enough to be wider than the column on any phone" * 2)
```

- [x] done
"""
SAID = [
    {"id": "u1", "role": "user", "text": "Plan my week", "at": "2026-11-26T10:00:00Z"},
    {"id": "a1", "role": "assistant", "text": EVERYTHING, "at": "2026-11-26T10:00:05Z"},
    {"id": "u2", "role": "user", "text": "A long one. " * 200, "at": "2026-11-27T10:00:00Z"},
]


CONVERSATIONS = [
    {
        "id": f"{number}1111111-1111-4111-8111-111111111111",
        "title": f"{number} conversation with a name that is longer than there is room for",
        "pinned": number == 1,
        "unread": number == 2,
        "working": number == 3,
        "at": f"2026-11-2{number}T10:00:00Z",
    }
    for number in range(1, 6)
]


def status(state: str, detail: str | None = None) -> dict[str, Any]:
    return {"type": "status", "state": state, "detail": detail, "since": "2026-11-27T10:00:00Z"}


SETTING_UP = status("provisioning", "No Docker Engine answers. It is tried again.")
FAILED = status("failed", "The image is not on this host: make it.")
OUT_OF_REACH = status("unreachable", "The server does not answer.")
STATES: dict[str, tuple[list[dict[str, Any]], str, int]] = {
    "awake": ([status("running")], "awake", len(SAID)),
    "asleep": ([status("paused")], "asleep", len(SAID)),
    "waking": ([status("waking")], "waking", len(SAID)),
    "being set up": ([SETTING_UP], "setting-up", 0),
    "failed": ([FAILED], "trouble", 0),
    "out of reach": ([status("running"), OUT_OF_REACH], "trouble", len(SAID)),
}
"""The server's frames, the pill's state after them, and the number of messages shown."""


def told(frames: list[dict[str, Any]], said: list[dict[str, Any]]) -> Callable[..., None]:
    """A server that sends `frames` at once, the history in pages, and half of an answer."""

    def serve(socket: WebSocketRoute) -> None:
        def answer(text: str | bytes) -> None:
            asked = json.loads(text)
            if asked["type"] == "history":
                end = len(said) - (asked.get("before") or 0)
                begin = max(0, end - asked["limit"])
                page = {"type": "older" if "before" in asked else "history"}
                older = {"older": len(said) - begin} if begin else {}
                socket.send(json.dumps({**page, "messages": said[begin:end], **older}))
            elif asked["type"] == "conversations":
                listed = {"type": "conversations", "conversations": CONVERSATIONS, "more": True}
                socket.send(json.dumps(listed))
            elif asked["type"] == "send":
                run = asked["id"]
                socket.send(json.dumps({"type": "accepted", "id": run, "runId": run}))
                socket.send(json.dumps({"type": "delta", "runId": run, "text": "Half an **ans"}))

        socket.on_message(answer)
        for frame in frames:
            socket.send(json.dumps(frame))

    return serve


def beyond_the_screen(page: Page) -> int:
    """By how many pixels the page as a whole can be scrolled; only its views should scroll."""
    return int(
        page.evaluate(
            "document.scrollingElement.scrollTo(0, 1e6), document.scrollingElement.scrollTop"
        )
    )


@pytest.fixture(scope="module")
def signed_in(stack: Stack, browser: Browser) -> Iterator[StorageState]:
    """The cookies of the admin, whose settings have every section."""
    with ChatPage(browser) as chat:
        chat.sign_in(stack.link("admin@localhost"))
        yield chat.context.storage_state()


@pytest.mark.parametrize("look_of", LOOKS, ids=lambda look_of: f"{look_of[0]}-{look_of[2]}")
def test_no_view_has_a_barrier_or_is_wider_than_its_screen(
    stack: Stack, browser: Browser, signed_in: StorageState, look_of: tuple[int, int, Any]
) -> None:
    width, height, scheme = look_of
    found: dict[str, list[str]] = {}

    def look(name: str, page: Page) -> None:
        found[name] = barriers(page)
        assert overflow(page) == 0, name
        assert beyond_the_screen(page) == 0, name

    # Colours are compared as they are in the end, not on their way there.
    settings: Any = {
        "viewport": {"width": width, "height": height},
        "color_scheme": scheme,
        "reduced_motion": "reduce",
    }
    stranger = browser.new_context(**settings)
    page = stranger.new_page()
    page.goto(f"{stack.url}/sign-in")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    look("sign in", page)
    page.goto(f"{stack.url}/sign-in#{'x' * 43}")
    expect(page.get_by_role("alert")).to_contain_text("link")
    expect(page.get_by_role("button", name="Sign in", exact=True)).to_have_count(0)
    look("a link that is used up", page)
    stranger.close()

    context = browser.new_context(**settings, storage_state=signed_in)
    page = context.new_page()
    for name, (frames, mood, messages) in STATES.items():
        page.route_web_socket(re.compile("/api/chat$"), told(frames, SAID))
        page.goto(stack.url)
        expect(page.locator("[data-state]")).to_have_attribute("data-state", mood)
        expect(page.get_by_role("article")).to_have_count(messages)
        detail = frames[-1]["detail"]
        if detail is not None:
            expect(page.get_by_text(detail)).to_be_visible()
        look(name, page)
    page.route_web_socket(re.compile("/api/chat$"), told([status("running")], []))
    page.goto(stack.url)
    expect(page.get_by_role("heading", name="This is your own agent")).to_be_visible()
    look("the first words", page)
    page.get_by_role("textbox", name="Message").fill("Go on")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    expect(page.get_by_role("article", name="Your agent")).to_contain_text("Half an")
    look("while it answers", page)
    for nowhere in ("/nowhere", "/c/trip", "/settings/more"):
        page.goto(f"{stack.url}{nowhere}")
        expect(page.get_by_role("heading", name="There is nothing at this address")).to_be_visible()
        expect(page).to_have_title("Not found · OCMT")
    look("an unknown address", page)
    page.get_by_role("link", name="Go to the chat").click()
    expect(page.get_by_role("heading", name="This is your own agent")).to_be_visible()
    go_to(page, "Settings")
    page.get_by_role("radio", name="OpenAI").check()
    expect(page.get_by_role("heading", name="Delete your account")).to_be_visible()
    look("settings", page)
    context.close()
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize("width", [1280, 360])
def test_a_conversation_of_ten_thousand_messages_is_read_and_answered_at_once(
    stack: Stack, browser: Browser, signed_in: StorageState, width: int
) -> None:
    context = browser.new_context(
        storage_state=signed_in, viewport={"width": width, "height": 740}, reduced_motion="reduce"
    )
    page = context.new_page()
    page.add_init_script(
        "window.longest = 0; new PerformanceObserver(list => list.getEntries().forEach(task =>"
        " window.longest = Math.max(longest, task.duration))).observe({type: 'longtask'})"
    )
    said = [
        {
            "id": f"m{number}",
            "role": "assistant" if number % 2 else "user",
            "text": f"Number {number}: "
            + "**bold** words and `code`.\n\n" * (4_000 if number == 9_999 else number % 7 + 1),
            "at": "2026-11-26T10:00:00Z",
        }
        for number in range(10_000)
    ]
    page.route_web_socket(re.compile("/api/chat$"), told([status("running")], said))
    page.goto(stack.url)
    articles = page.get_by_role("article")
    expect(articles.last).to_contain_text("Number 9999")
    box = page.get_by_role("textbox", name="Message")
    box.fill("Quick?")
    page.mouse.move(width / 2, 300)
    older = articles.filter(has_text=re.compile(r"Number 9[0-8]\d\d:"))
    for _ in range(60):  # beyond the first page of the history
        page.mouse.wheel(0, -60_000)
        page.wait_for_timeout(50)
        if older.count():
            break
    expect(older.first).to_be_attached()
    for _ in range(8):
        page.mouse.move(width / 2, 300)
        page.mouse.wheel(0, -100_000)
        page.mouse.move(width / 2, 20)  # over the header
        page.mouse.wheel(0, 3_000)
        page.wait_for_timeout(50)
    assert articles.count() < 100
    assert beyond_the_screen(page) == 0
    page.get_by_role("button", name="Jump to newest").click()
    expect(articles.last).to_contain_text("Number 9999")
    # 13.9 s when 3,000 of them were rendered; the machine of the tests is busy. The figures of a
    # quiet one are in docs/benchmarks.md.
    assert page.evaluate("longest") < 1_500
    context.close()


def test_everything_is_reached_and_done_with_the_keyboard(
    stack: Stack, browser: Browser, signed_in: StorageState
) -> None:
    context = browser.new_context(storage_state=signed_in)
    page = context.new_page()
    page.route_web_socket(re.compile("/api/chat$"), told([status("running")], []))
    page.goto(stack.url)
    box = page.get_by_role("textbox", name="Message")
    expect(box).to_be_focused()
    page.keyboard.type("one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two")
    page.keyboard.press("Enter")
    expect(page.get_by_role("article", name="You", exact=True)).to_contain_text("one")
    expect(box).to_have_value("")
    expect(box).to_be_focused()
    stop = page.get_by_role("button", name="Stop")
    expect(stop).to_be_visible()
    page.keyboard.press("Tab")
    expect(stop).to_be_focused()
    page.get_by_role("link", name="Settings").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Settings")).to_be_focused()
    context.close()


def test_what_a_model_says_runs_nothing_and_fetches_nothing(
    stack: Stack, browser: Browser, signed_in: StorageState
) -> None:
    said = """<script>document.title = "taken"</script>
<img src="https://evil.example/seen.png" onerror="document.title='taken'">
<iframe src="https://evil.example/"></iframe>

[a trap](javascript:document.title='taken') [a page](https://example.org/)

![a picture](https://evil.example/seen.png) ![tiny](data:image/svg+xml;base64,PHN2Zy8+)

<a href="https://evil.example" onclick="document.title='taken'">here</a>
<style>* { display: none }</style>
"""
    context = browser.new_context(storage_state=signed_in)
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    history = [{"id": "a", "role": "assistant", "text": said, "at": "2026-11-27T10:00:00Z"}]
    page.route_web_socket(re.compile("/api/chat$"), told([status("running")], history))
    page.goto(stack.url)
    answer = page.get_by_role("article", name="Your agent")
    expect(answer).to_contain_text("a trap")
    page.wait_for_timeout(300)

    assert page.title() == "OCMT"
    assert [url for url in asked if not url.startswith((stack.url, "data:"))] == []
    for unwanted in ("script", "iframe", "style", "img", "[onclick]", "[onerror]"):
        expect(answer.locator(f".text {unwanted}")).to_have_count(0)
    links = answer.locator(".text a")
    targets = links.evaluate_all("all => all.map(a => [a.href, a.target, a.rel])")
    assert all(href.startswith("https://") for href, *_ in targets if href), targets
    assert all(rest == ["_blank", "noopener noreferrer"] for _, *rest in targets), targets
    context.close()


def test_a_lost_connection_comes_back_without_a_reload(
    stack: Stack, browser: Browser, signed_in: StorageState
) -> None:
    """Messages written meanwhile are sent automatically, and a running answer continues."""
    sockets: list[WebSocketRoute] = []
    sent: list[str] = []
    runs: list[str] = []

    def serve(socket: WebSocketRoute) -> None:
        sockets.append(socket)

        def answer(text: str | bytes) -> None:
            asked = json.loads(text)
            if asked["type"] == "history":
                socket.send(json.dumps({"type": "history", "messages": []}))
                for run in runs:
                    socket.send(json.dumps({"type": "delta", "runId": run, "text": "one two"}))
            elif asked["type"] == "send":
                sent.append(asked["text"])
                runs.append(asked["id"])
                socket.send(json.dumps({"type": "accepted", "id": runs[-1], "runId": runs[-1]}))
                socket.send(json.dumps({"type": "delta", "runId": runs[-1], "text": "one"}))

        socket.on_message(answer)
        socket.send(json.dumps(status("running")))

    context = browser.new_context(storage_state=signed_in)
    page = context.new_page()
    page.route_web_socket(re.compile("/api/chat$"), serve)
    page.goto(stack.url)
    box = page.get_by_role("textbox", name="Message")
    box.fill("first")
    box.press("Enter")
    answer = page.get_by_role("article", name="Your agent")
    expect(answer).to_contain_text("one")
    sockets[0].close()
    box.fill("second")
    box.press("Enter")
    expect(page.get_by_role("article", name="You", exact=True)).to_have_count(2)
    expect(answer).to_have_count(2)
    expect(answer.first.locator(".text")).to_have_text("one two")
    assert sent == ["first", "second"]
    context.close()
