"""What was written and said is all there after a reload, with the real OpenClaw."""

from ocmt_testing.system.chat import ChatPage, choose_model
from ocmt_testing.system.stack import Stack
from playwright.sync_api import Browser, expect

LONG = 30_000
"""More than `chat.history` gives unless asked otherwise."""
DOT = (
    "iVBORw0KGgoAAAANSUhEUgAAAAoAAAAKCAIAAAACUFjqAAAAEklEQVR4nGP4z8CAB+GTG8HSALfKY52fTcuYAAAAAElF"
    "TkSuQmCC"
)


def test_a_reload_loses_nothing_and_the_settings_wake_nobody(
    stack: Stack, browser: Browser
) -> None:
    with ChatPage(browser) as chat:
        page = chat.page
        stop = page.get_by_role("button", name="Stop")

        def write(text: str) -> None:
            chat.message_box.fill(text)
            chat.message_box.press("Enter")

        chat.sign_in(stack.link("admin@localhost"))
        choose_model(chat, provider="openai", model="any", key="sk-0123456789")
        write(f"say: {'long ' * (LONG // 5)}")
        expect(chat.answers.filter(has_text="long long")).to_have_count(1, timeout=90_000)
        expect(stop).to_have_count(0, timeout=60_000)
        page.reload()
        answer = chat.answers.filter(has_text="long long")
        expect(answer).to_have_count(1, timeout=60_000)
        expect(answer.locator(".text")).to_have_text("long " * (LONG // 5 - 1) + "long.")

        write("run: sleep 15; echo slept")
        expect(stop).to_be_visible()
        write("say: and on")
        page.reload()
        expect(stop).to_be_visible()
        expect(chat.questions.filter(has_text="say: and on")).to_have_count(1)
        expect(chat.answers.filter(has_text="and on.")).to_have_count(1, timeout=90_000)

        write(f"run: echo {DOT} | base64 -d > dot.png; echo Here:; echo MEDIA:./dot.png")
        picture = chat.answers.get_by_role("img", name="dot.png")
        for _ in ("live", "after a reload"):
            expect(picture).to_have_js_property("naturalWidth", 10, timeout=60_000)
            page.reload()

        choose_model(chat, provider="demo", model="demo")
        user = chat.user_id()
        expect(stop).to_have_count(0)
        stack.hibernate(user, "stop")
        page.goto(f"{stack.url}/settings")
        expect(page.get_by_role("heading", name="Settings")).to_be_visible()
        chat.wait_for_pill("asleep")
        page.wait_for_timeout(1_000)
        assert stack.state(user) == "stopped"
        assert chat.complaints == []
