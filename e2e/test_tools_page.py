"""The page's view of tools: with real tool servers and calls, and with every state on a phone."""

import asyncio
import json
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from ocmt_testing.management.mcp_servers import RealServer, tool
from ocmt_testing.system.chat import ChatPage
from ocmt_testing.system.looks import barriers, wider_than_their_place
from ocmt_testing.system.stack import Stack
from playwright.sync_api import Browser, Page, Route, WebSocketRoute, expect

HOSTILE = "<img src=x onerror=\"document.title='taken'\">\u202e"
LONG = "delete_everything_" + "y" * 110


@contextmanager
def tool_server() -> Iterator[RealServer]:
    """A real MCP server in a thread of its own."""
    server, ready, done = RealServer(), threading.Event(), threading.Event()

    async def serve() -> None:
        async with server.running():
            ready.set()
            await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert ready.wait(20)
    try:
        yield server
    finally:
        done.set()
        thread.join()


def call(stack: Stack, token: str, name: str, text: str) -> dict[str, Any]:
    """A tool call of the agent; returns its result."""
    answer = httpx2.post(
        f"{stack.url}/mcp",
        headers={
            "authorization": f"Bearer {token}",
            "accept": "application/json, text/event-stream",
        },
        json={
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {"name": name, "arguments": {"text": text}},
        },
        timeout=60,
    )
    assert answer.status_code == 200, answer.text
    lines = [line[5:] for line in answer.text.splitlines() if line.startswith("data:")]
    result: dict[str, Any] = json.loads(lines[-1] if lines else answer.text)["result"]
    return result


def text_of(result: dict[str, Any]) -> str:
    return str(result["content"][0]["text"])


def test_a_person_connects_tools_decides_on_calls_and_accepts_changes(
    stack: Stack, browser: Browser
) -> None:
    with (
        tool_server() as tools,
        ChatPage(browser, width=360, height=740) as chat,
        ThreadPoolExecutor(1) as agent,
    ):
        tools.tools[0]["description"] = HOSTILE
        page = chat.page
        chat.sign_in(stack.link("admin@localhost"))
        chat.wait_for_pill("awake")
        token = stack.agent_token(chat.user_id())

        page.get_by_role("link", name="Tools").click()
        page.get_by_text("Add a server").click()
        page.get_by_label("Name", exact=True).fill("Notes")
        page.get_by_label("Address").fill(tools.url)
        page.get_by_label("Key (if the server needs one)").fill("k-1")
        page.get_by_role("button", name="Add", exact=True).click()
        notes = page.get_by_role("article", name="Notes")
        notes.get_by_text("2 tools").click()
        expect(notes.get_by_text("<img src=x")).to_be_visible()

        calling = agent.submit(call, stack, token, "notes__echo", HOSTILE)
        expect(page.get_by_role("link", name="Tools, 1 call waits for you")).to_be_visible()
        page.get_by_role("link", name="Back to the chat").click()
        card = page.get_by_role("article", name=re.compile("^Decision"))
        expect(card).to_contain_text("<img src=x")
        card.get_by_role("button", name="Allow once").click()
        ran = json.loads(text_of(calling.result(timeout=30)))
        assert ran == ["echo", {"text": HOSTILE}, "Bearer k-1"]
        expect(card).to_contain_text("Allowed, and done.")

        page.get_by_role("link", name="Tools").click()
        calling = agent.submit(call, stack, token, "notes__echo", "again")
        page.get_by_role("button", name="Do not allow").click()
        assert calling.result(timeout=30)["isError"]
        assert tools.calls["echo"] == 1

        tools.tools[0] = tool("echo", "Another description.")
        notes.get_by_text("Manage").click()
        notes.get_by_role("button", name="Read tools again").click()
        notes.get_by_text("Look at 1 changed tool").click()
        expect(notes.get_by_role("group", name="Definition of echo")).to_contain_text(
            "Another description."
        )
        notes.get_by_role("button", name="Accept").click()
        expect(notes.get_by_text("All definitions are accepted.")).to_be_visible()
        notes.get_by_label("Rule for all tools of Notes").select_option("allow")
        notes.get_by_text("2 tools").click()
        expect(notes.get_by_label("Rule for echo")).to_contain_text("As the server: Allow")
        assert not call(stack, token, "notes__echo", "at once").get("isError")

        share_and_connect(page, tools.url)
        notes.get_by_text("Manage").click()
        notes.get_by_role("button", name="Delete").click()
        notes.get_by_role("button", name="Delete?").click()
        expect(notes).to_have_count(0)
        assert page.title() == "Tools · OCMT"
        assert chat.complaints == []


def share_and_connect(page: Page, url: str) -> None:
    """Share a server, connect it, and see the admins' rule hold."""
    page.get_by_role("link", name="Settings").first.click()
    page.get_by_text("Share a server").click()
    page.get_by_label("Name", exact=True).fill("Wiki")
    page.get_by_label("Address", exact=True).fill(url)
    page.get_by_role("button", name="Share", exact=True).click()
    wiki = page.get_by_role("article", name="Wiki")
    wiki.get_by_label("Rule for all tools of Wiki").select_option("deny")
    page.get_by_role("link", name="Tools").click()
    wiki.get_by_role("button", name="Connect").click()
    expect(wiki.get_by_text("2 tools")).to_be_visible()
    expect(wiki).to_contain_text("An admin set “Deny” for this server.")
    page.get_by_text("Show the last uses").click()
    expect(page.get_by_text("ran", exact=True).first).to_be_visible()
    page.get_by_role("link", name="Settings").first.click()
    expect(wiki).to_contain_text("1 person has connected it")
    wiki.get_by_role("button", name="Delete").click()
    wiki.get_by_role("button", name="Delete?").click()
    expect(wiki).to_have_count(0)
    page.get_by_role("link", name="Tools").click()


def a_tool(name: str, **changes: Any) -> dict[str, Any]:
    view = {"name": name, "publicName": name, "title": None, "description": "A tool."}
    rules = {"rule": "ask", "adminRule": None, "ownRule": None}
    return {**view, "readOnly": None, "state": "ok", **rules, **changes}


def a_server(name: str, **changes: Any) -> dict[str, Any]:
    view = {"id": name, "slug": "s", "name": name, "shared": False, "transport": "http"}
    place = {"url": f"https://mcp.example.com/{'long/' * 40}", "package": None}
    state = {"connected": True, "enabled": True, "credentialState": "ok", "trouble": None}
    more = {"credentialName": "Authorization", "credentialHint": "…3f9a", "tools": []}
    rules = {"listedAt": "2026-11-27T10:00:00Z", "adminRule": None, "ownRule": "allow"}
    return {**view, **place, **state, **more, **rules, **changes}


def an_approval(number: int, **changes: Any) -> dict[str, Any]:
    asked = {"id": f"a{number}", "number": number, "server": "Notes", "tool": LONG}
    given = json.dumps({f"name {n}": HOSTILE for n in range(40)}, indent=2)
    state = {"arguments": given, "state": "waiting", "decision": None, "detail": None, "version": 1}
    times = {"createdAt": "2026-11-27T10:00:00Z", "expiresAt": "2026-11-28T10:00:00Z"}
    ended = {"decidedAt": None, "finishedAt": None}
    return {**asked, **state, "changed": [], "repeats": None, **times, **ended, **changes}


TOOLS = [
    a_tool(LONG, state="changed"),
    a_tool("new", state="new", description="Words. " * 200),
    a_tool("gone", state="gone", description=HOSTILE),
    a_tool("denied", rule="deny", adminRule="deny", readOnly=True, title="A title"),
]
APPROVALS = [
    an_approval(3, changed=["definition", "rule", "credential"], repeats=1),
    an_approval(2, state="uncertain", decision="once", decidedAt="2026-11-27T11:00:00Z"),
]
DIFFERENCE = ["--- accepted", "+++ now", "@@ -1 +1 @@", "-" + "x" * 300, "+" + HOSTILE, " {", "@@"]
ANSWERS: dict[str, Any] = {
    "/api/tools": {
        "servers": [
            a_server("Notes", tools=TOOLS),
            a_server("Rejected", credentialState="refused", adminRule="ask"),
            a_server("Broken", trouble="It cannot be reached now. " * 8, tools=[a_tool("t")]),
            a_server("W" * 100, shared=True, connected=False, credentialState=None),
            a_server("Off", enabled=False),
        ]
    },
    "/api/tools/servers/Notes/changes": {
        "changes": [
            {"tool": LONG, "publicName": "p", "state": "changed", "pin": "p",
             "difference": DIFFERENCE}
        ]
    },
    "/api/tools/uses": {
        "uses": [
            {"server": "Notes", "tool": LONG, "outcome": outcome, "milliseconds": 1234,
             "shape": "text: text 23, " * 30, "at": "2026-11-27T10:00:00Z"}
            for outcome in ("ok", "error", "trouble", "asked", "denied")
        ]
    },
    "/api/approvals": {"approvals": APPROVALS},
    "/api/admin/tools": {
        "servers": [
            {"id": "x", "slug": "files", "name": "Files", "transport": "stdio", "url": None,
             "package": "@modelcontextprotocol/server-filesystem@2026.8.31",
             "arguments": ["--root", "/" + "long/" * 60], "credentialName": "API_TOKEN",
             "enabled": False, "people": 3, "rule": "ask",
             "tools": [{"name": LONG, "description": HOSTILE, "rule": "deny"}]}
        ]
    },
}  # fmt: skip


def answer(route: Route) -> None:
    route.fulfill(json=ANSWERS[urlsplit(route.request.url).path])


def chat_socket(socket: WebSocketRoute) -> None:
    status = {"type": "status", "state": "running", "detail": None, "since": "x", "warning": None}
    socket.on_message(lambda _: socket.send(json.dumps({"type": "history", "messages": []})))
    socket.send(json.dumps(status))
    socket.send(json.dumps({"type": "approval", "approval": APPROVALS[0]}))


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (1280, "dark")])
def test_no_state_of_tools_has_a_barrier_or_sticks_out(
    stack: Stack, browser: Browser, width: int, scheme: Any
) -> None:
    with ChatPage(browser, width=width, height=740) as chat:
        page = chat.page
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        page.route_web_socket(re.compile("/api/chat$"), chat_socket)
        for path in ANSWERS:
            page.route(f"{stack.url}{path}", answer)
        chat.sign_in(stack.link("admin@localhost"))
        expect(page.get_by_role("button", name="Allow once")).to_be_enabled()
        assert (barriers(page), wider_than_their_place(page)) == ([], [])

        page.goto(f"{stack.url}/tools?decision=2")
        expect(page.get_by_role("article", name="Decision 2")).to_be_in_viewport()
        expect(page.get_by_role("button", name="Allow once")).to_be_enabled()
        for folded in ("Look at", "4 tools", "Manage", "Add a server", "Show the last uses"):
            page.get_by_text(folded).first.click()
        page.get_by_role("button", name="Enter key Rejected").click()
        expect(page.get_by_label("Your key for Rejected")).to_be_visible()
        expect(page.get_by_text("server in trouble")).to_be_visible()
        expect(page.get_by_role("group", name=f"Definition of {LONG}")).to_be_visible()
        assert (barriers(page), wider_than_their_place(page)) == ([], [])

        page.get_by_role("link", name="Settings").first.click()
        page.get_by_text("Rules for single tools").click()
        page.get_by_text("Share a server").click()
        page.get_by_label("A package").check()
        expect(page.get_by_label("Integrity")).to_be_visible()
        assert (barriers(page), wider_than_their_place(page)) == ([], [])
        assert "taken" not in page.title()
        assert chat.complaints == []
