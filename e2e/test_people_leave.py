"""A suspended user's real agent stops and stays stopped; a deleted user's agent and files go."""

import httpx2
from ocmt_testing.system.chat import ChatPage
from ocmt_testing.system.stack import Stack, eventually
from playwright.sync_api import Browser, expect


def is_disabled(stack: Stack, user_id: str) -> bool:
    try:
        answer = stack.agent("POST", f"/api/containers/{user_id}/wake")
    except httpx2.HTTPError:  # it is being started again
        return False
    return answer.status_code == 409 and answer.json()["code"] == "agent-disabled"


def test_an_admin_suspends_lets_in_again_and_deletes(stack: Stack, browser: Browser) -> None:
    with ChatPage(browser) as admin, ChatPage(browser) as leaver:
        admin.sign_in(stack.link("admin@localhost"))
        leaver.sign_in(stack.link("leaver@example.org"))
        leaver.wait_for_pill("awake")
        leaver.ask("Hello")
        user_id = leaver.user_id()
        folder = stack.data / "agent" / "agents" / user_id
        assert stack.gateway_pids(user_id)

        people = admin.page.locator("admin-people")
        row = people.get_by_role("row").filter(has_text="leaver@example.org").first
        admin.page.get_by_role("link", name="Settings").click()
        admin.page.get_by_role("link", name="Administration").click()
        row.get_by_role("button", name="Manage").click()
        people.get_by_role("button", name="Suspend").click()
        people.get_by_role("button", name="Suspend?").click()
        expect(row.get_by_text("suspended", exact=True)).to_be_visible()
        expect(leaver.page.get_by_role("heading", name="Sign in")).to_be_visible()
        eventually(lambda: not stack.gateway_pids(user_id), within_s=60, what="the agent ended")
        assert is_disabled(stack, user_id)
        stack.kill_agent_server()
        eventually(lambda: is_disabled(stack, user_id), within_s=120, what="it stays disabled")
        assert not stack.gateway_pids(user_id)

        people.get_by_role("button", name="Reactivate").click()
        expect(row.get_by_text("suspended", exact=True)).to_have_count(0)
        leaver.sign_in(stack.link("leaver@example.org"))
        leaver.ask("Back again")
        assert stack.gateway_pids(user_id)

        people.get_by_role("button", name="Delete").click()
        people.get_by_role("textbox").fill("leaver@example.org")
        people.get_by_role("button", name="Delete permanently").click()
        expect(leaver.page.get_by_role("heading", name="Sign in")).to_be_visible()
        eventually(
            lambda: user_id not in [one["userId"] for one in stack.containers()],
            within_s=60,
            what="the agent is removed",
        )
        assert not stack.gateway_pids(user_id)
        eventually(lambda: not folder.exists(), within_s=30, what="its files are deleted")
        admin.page.reload()
        expect(admin.page.get_by_role("heading", name="People")).to_be_visible()
        expect(row).to_have_count(0)
