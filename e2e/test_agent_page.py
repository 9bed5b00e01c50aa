"""A person's agent, the administration and the account, on the page of a whole system.

One agent and one admin go through all of it; pictures of every view are kept with the test's files.
"""

import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
from ocmt_testing.system.chat import ChatPage, client_of
from ocmt_testing.system.looks import barriers, overflow, wider_than_their_place
from ocmt_testing.system.stack import Stack, eventually
from playwright.sync_api import Browser, Page, expect
from playwright.sync_api import TimeoutError as TookTooLong

LOOKS = [(1280, 800, "light"), (360, 740, "dark"), (1280, 800, "dark"), (360, 740, "light")]
AWAKE_MS = 120_000


@pytest.fixture(scope="module")
def chat(stack: Stack, browser: Browser) -> Iterator[ChatPage]:
    """The admin, whose agent is awake."""
    with ChatPage(browser) as page:
        page.sign_in(stack.link("admin@localhost"))
        page.wait_for_pill("awake", "asleep")
        page.ask("Hello")
        yield page


@pytest.fixture(scope="module")
def client(stack: Stack, chat: ChatPage) -> Iterator[httpx2.Client]:
    with client_of(stack, chat) as opened:
        yield opened


def section(page: Page, name: str) -> Any:
    return page.locator(name)


def test_a_sleeping_agent_is_looked_at_without_a_wake_and_its_jobs_wake_it(
    stack: Stack, chat: ChatPage
) -> None:
    page, user_id = chat.page, chat.user_id()
    stack.hibernate(user_id, "stop")
    page.goto(f"{stack.url}/agent")
    state = section(page, "agent-state")
    expect(state.get_by_text("Asleep since")).to_be_visible()
    expect(state.get_by_role("img", name="In the last 24 hours")).to_be_visible()
    expect(section(page, "agent-files").get_by_text("IDENTITY.md").first).to_be_visible()
    section(page, "agent-log").get_by_role("button", name="Show the log").click()
    expect(section(page, "agent-log").get_by_label("Log")).to_be_visible()
    assert stack.state(user_id) == "stopped"

    jobs = section(page, "agent-jobs")
    jobs.get_by_role("button", name="Wake and list").click()
    expect(jobs.get_by_text("kept by OpenClaw").first).to_be_visible(timeout=AWAKE_MS)
    assert stack.state(user_id) == "running"
    expect(state.get_by_text("It was woken")).to_be_visible()


def test_times_and_the_heartbeat_reach_the_agent(stack: Stack, chat: ChatPage) -> None:
    page, user_id = chat.page, chat.user_id()
    page.goto(f"{stack.url}/agent")
    times = section(page, "agent-times")
    times.get_by_label("Sleeps after").select_option("15")
    times.get_by_label("Heartbeat").select_option("60")
    expect(times.get_by_text("24 wakes and model calls a day")).to_be_visible()
    times.get_by_role("button", name="Save").click()
    expect(times.get_by_text("Saved.")).to_be_visible()
    policy = stack.agent("GET", f"/api/containers/{user_id}/policy").json()
    assert (policy["pauseAfterMs"], policy["heartbeatMinutes"]) == (900_000, 60)
    config = json.loads(
        (stack.data / "agent" / "agents" / stack.home(user_id) / "openclaw.json").read_text(
            encoding="utf-8"
        )
    )
    assert config["agents"]["defaults"]["heartbeat"]["every"] == "60m"

    times.get_by_label("Sleeps after").select_option("")
    times.get_by_label("Heartbeat").select_option("")
    times.get_by_role("button", name="Save").click()
    expect(times.get_by_text("Saved.")).to_be_visible()
    policy = stack.agent("GET", f"/api/containers/{user_id}/policy").json()
    assert (policy["pauseAfterMs"], policy["heartbeatMinutes"]) == (None, None)


def test_a_file_goes_up_is_read_and_saved_again(
    stack: Stack, chat: ChatPage, tmp_path: Path
) -> None:
    page = chat.page
    page.goto(f"{stack.url}/agent")
    files = section(page, "agent-files")
    expect(files.get_by_text("IDENTITY.md").first).to_be_visible()
    sent = tmp_path / "für später.md"
    text = "<script>document.title = 'taken'</script>\n* 1\n"
    sent.write_text(text, encoding="utf-8")
    files.locator("input[type=file]").set_input_files(sent)
    expect(files.get_by_text("Uploaded 1 file.")).to_be_visible()
    files.get_by_role("button", name="für später.md").click()
    expect(files.get_by_label("Content of the file")).to_have_text(text.strip())
    assert page.title() == "Your agent · OCMT"
    with page.expect_download() as saving:
        files.get_by_role("link", name="Save für später.md").click()
    saved = saving.value
    assert saved.suggested_filename == "für später.md"
    saved.save_as(tmp_path / "saved.md")
    assert (tmp_path / "saved.md").read_text(encoding="utf-8") == text


def test_an_admin_sorts_people_orders_an_agent_and_invites(
    stack: Stack, chat: ChatPage, browser: Browser
) -> None:
    page, user_id = chat.page, chat.user_id()
    page.goto(f"{stack.url}/admin")
    people = section(page, "admin-people")
    people.get_by_role("button", name="Memory").click()
    header = people.get_by_role("columnheader", name="Memory")
    expect(header).to_have_attribute("aria-sort", "descending")
    row = people.get_by_role("row").filter(has_text="admin@localhost").first
    row.get_by_role("button", name="Manage").click()
    wake = people.get_by_role("button", name="Wake")
    if wake.count():
        wake.click()
        expect(row).to_contain_text("awake", timeout=AWAKE_MS)
    stop = people.get_by_role("button", name="Stop")

    def stopped() -> bool:
        if stop.is_visible() and stop.is_enabled():  # refused while its gateway is busy
            with suppress(TookTooLong):  # the row was drawn anew
                stop.click(timeout=2_000)
        return stack.state(user_id) == "stopped"

    eventually(stopped, within_s=120, what="the agent is stopped", every_s=3)

    invitations = section(page, "admin-invitations")
    invitations.get_by_label("E-mail addresses").fill("new-one@example.org new-two@example.org")
    invitations.get_by_role("button", name="Invite").click()
    expect(invitations.get_by_text("2 were invited.")).to_be_visible()
    invitations.get_by_role("button", name="Copy link for new-one@example.org").click()
    link = invitations.get_by_label(re.compile("signs in whoever opens it first"))
    with ChatPage(browser) as invited:
        invited.page.goto(link.input_value())
        expect(invited.page.get_by_text("new-one@example.org")).to_be_visible()
    second = invitations.get_by_role("listitem").filter(has_text="new-two@example.org")
    second.get_by_role("button", name="Withdraw").click()
    second.get_by_role("button", name="Withdraw invitation?").click()
    expect(invitations.get_by_text("was withdrawn")).to_be_visible()
    page.reload()  # the audit trail and the host's day are read once
    host = section(page, "admin-host")
    expect(host.get_by_role("img", name=re.compile("wakes"))).to_be_visible()
    expect(section(page, "admin-audit").get_by_text("invitation.link").first).to_be_visible()


def test_one_s_data_is_exported_and_the_theme_kept(
    stack: Stack, chat: ChatPage, client: httpx2.Client
) -> None:
    page = chat.page
    page.goto(f"{stack.url}/settings")
    account = section(page, "account-data")
    account.get_by_label("Dark").check()
    page.reload()
    assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "dark"
    account.get_by_label("As the system").check()
    exported = client.get("/api/account/export").json()
    assert exported["user"]["email"] == "admin@localhost"
    assert exported["sessions"]
    expect(section(page, "settings-devices").get_by_text("from 127.0.0.1").first).to_be_visible()


@pytest.mark.parametrize("look", LOOKS, ids=lambda look: f"{look[0]}-{look[2]}")
def test_no_view_has_a_barrier_or_is_wider_than_its_screen(
    *, stack: Stack, chat: ChatPage, browser: Browser, tmp_path: Path, look: tuple[int, int, Any]
) -> None:
    width, height, scheme = look
    pictures = Path(os.environ.get("OCMT_PICTURES", tmp_path))
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=scheme,
        reduced_motion="reduce",
        storage_state=chat.context.storage_state(),
    )
    page = context.new_page()
    found: dict[str, list[str]] = {}
    for path, loaded in (
        ("agent", "Scheduled jobs"), ("admin", "Audit trail"), ("settings", "Your data"),
    ):  # fmt: skip
        page.goto(f"{stack.url}/{path}")
        expect(page.get_by_role("heading", name=loaded)).to_be_visible()
        if path == "admin":
            page.locator("admin-people").get_by_role("button", name="Manage").first.click()
            expect(page.get_by_role("heading", name="Wake times")).to_be_visible()
        if path == "agent":
            page.get_by_role("checkbox", name="In these hours").check()
            page.locator("summary").first.click()
        assert overflow(page) == 0, path
        page.set_viewport_size({"width": width, "height": 4_000})
        page.locator(f"{path}-view .column").screenshot(
            path=pictures / f"{path}-{width}-{scheme}.png"
        )
        page.set_viewport_size({"width": width, "height": height})
        found[path] = [*barriers(page), *wider_than_their_place(page)]
    context.close()
    assert {name: lines for name, lines in found.items() if lines} == {}
