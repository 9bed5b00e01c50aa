"""Several conversations over one `/api/chat`, with a scripted gateway."""

import asyncio
from collections.abc import Awaitable, Callable

import httpx2
import pytest
from ocmt_testing.management.gateway import MAIN_KEY, FakeGateway
from ocmt_testing.management.page import Tab

OpenTab = Callable[[httpx2.AsyncClient], Awaitable[Tab]]

TRIP = "11111111-1111-4111-8111-111111111111"
TAXES = "22222222-2222-4222-8222-222222222222"
TRIP_KEY = f"agent:main:ocmt-{TRIP}"


def asked(gateway: FakeGateway, method: str) -> list[dict[str, object]]:
    return [params for name, params in gateway.asked if name == method]


async def say(tab: Tab, text: str, message_id: str, conversation: str = TRIP) -> None:
    await tab.send(type="send", id=message_id, text=text, conversation=conversation)


async def test_conversations_run_side_by_side(tab: Tab, gateway: FakeGateway) -> None:
    await say(tab, "Plan a trip", TAXES)
    await tab.gets("accepted", id=TAXES, conversation=TRIP)
    sent = await tab.say("Hello?")
    accepted = await tab.gets("accepted", id=sent)
    assert "conversation" not in accepted
    await gateway.say(TAXES, "Rome")
    await gateway.say(sent, "Hi")
    await tab.gets("delta", runId=TAXES, text="Rome", conversation=TRIP)
    assert "conversation" not in await tab.gets("delta", runId=sent, text="Hi")
    await tab.send(type="stop", conversation=TRIP)
    await tab.gets("aborted", runId=TAXES, conversation=TRIP)
    await gateway.finish(sent)
    await tab.gets("final", runId=sent)

    await tab.send(type="history", conversation=TRIP)
    history = await tab.gets("history", conversation=TRIP)
    assert [message["text"] for message in history["messages"]] == ["Plan a trip"]
    # Named by us, so that OpenClaw does not ask the model for a name.
    assert asked(gateway, "sessions.patch") == [{"key": TRIP_KEY, "autoLabel": "Plan a trip"}]
    assert {p["sessionKey"] for p in asked(gateway, "chat.send")} == {"main", TRIP_KEY}
    assert len(gateway.sockets) == 1


async def test_a_list_has_conversations_only_and_follows_changes(
    tab: Tab, gateway: FakeGateway
) -> None:
    for key in (TRIP_KEY, "agent:main:cron:daily", "agent:main:subagent:x", "agent:main:discord:1"):
        await gateway.change(key, displayName="Trip")
    await tab.send(type="conversations")
    listed = await tab.gets("conversations")
    assert {entry["id"] for entry in listed["conversations"]} == {"main", TRIP}

    await gateway.change("agent:main:cron:daily", hasActiveRun=True)
    await gateway.change(TRIP_KEY, hasActiveRun=True, unread=True)
    changed = (await tab.gets("conversation"))["conversation"]
    assert (changed["id"], changed["working"], changed["unread"]) == (TRIP, True, True)
    await gateway.change(TRIP_KEY, "delete")
    await tab.gets("deleted", conversation=TRIP)


async def test_rename_pin_read_and_delete(
    tab: Tab, ada: httpx2.AsyncClient, open_tab: OpenTab, gateway: FakeGateway
) -> None:
    await gateway.change(TRIP_KEY, displayName="Trip", unread=True)
    other = await open_tab(ada)
    await other.send(type="conversations")
    await other.gets("conversations")

    await tab.send(type="change", conversation=TRIP, title=" To Rome ", pinned=True)
    changed = (await tab.gets("conversation"))["conversation"]
    assert (changed["title"], changed["pinned"]) == ("To Rome", True)
    await tab.send(type="change", conversation=TRIP, title="", read=True)
    changed = (await tab.gets("conversation"))["conversation"]
    assert (changed["title"], changed["unread"]) == ("Trip", False)
    await tab.send(type="delete", conversation=TRIP)
    await tab.gets("deleted", conversation=TRIP)
    await other.gets("deleted", conversation=TRIP)
    assert TRIP_KEY not in gateway.sessions
    await tab.send(type="delete", conversation="main")
    refused = await tab.gets("error", about="conversations")
    assert refused["code"] == "main-conversation"
    assert MAIN_KEY in gateway.sessions

    gateway.refusals.append({"code": "INVALID_REQUEST", "message": "label already in use: x"})
    await tab.send(type="change", title="x")
    assert "has this name" in (await tab.gets("error", about="conversations"))["detail"]


async def test_a_working_conversation_is_stopped_and_then_deleted(
    tab: Tab, gateway: FakeGateway
) -> None:
    gateway.stops = asyncio.Event()
    await say(tab, "Plan a trip", TAXES)
    await tab.gets("accepted", id=TAXES, conversation=TRIP)
    # The run that ends writes to its session once more.
    gateway.refusals_of["sessions.delete"].append(
        {
            "code": "INVALID_REQUEST",
            "message": f"Session {TRIP_KEY} changed before deletion. Retry.",
        }
    )
    await tab.send(type="delete", conversation=TRIP)
    while not asked(gateway, "chat.abort"):
        await gateway.requests.get()
    assert not asked(gateway, "sessions.delete")
    gateway.stops.set()
    await tab.gets("aborted", runId=TAXES, conversation=TRIP)
    await tab.gets("deleted", conversation=TRIP)
    assert TRIP_KEY not in gateway.sessions
    assert len(asked(gateway, "sessions.delete")) == 2


async def test_a_refused_deletion_names_its_conversation(tab: Tab, gateway: FakeGateway) -> None:
    await gateway.change(TRIP_KEY, displayName="Trip")
    gateway.refusals_of["sessions.patch"].append(
        {"code": "INVALID_REQUEST", "message": "This session is locked."}
    )
    await tab.send(type="delete", conversation=TRIP)
    refused = await tab.gets("error", about="conversations", conversation=TRIP)
    assert refused["detail"] == "This session is locked."
    assert TRIP_KEY in gateway.sessions


async def test_a_message_restores_an_archived_conversation(tab: Tab, gateway: FakeGateway) -> None:
    """OpenClaw archives what was not used for a week, and refuses messages to it."""
    await gateway.change(TRIP_KEY, displayName="Trip", archived=True)
    await say(tab, "And Naples?", TAXES)
    await tab.gets("accepted", id=TAXES)

    assert gateway.sessions[TRIP_KEY]["archived"] is False
    assert all("autoLabel" not in params for params in asked(gateway, "sessions.patch"))


async def test_messages_are_searched_in_conversations_only(tab: Tab, gateway: FakeGateway) -> None:
    gateway.hits = [
        {"sessionKey": TRIP_KEY, "role": "assistant", "snippet": "Rome", "timestamp": 0},
        {"sessionKey": "agent:main:cron:daily", "role": "user", "snippet": "Rome"},
    ]
    await tab.send(type="search", query="rome")
    found = await tab.gets("found", query="rome")
    assert [hit["conversation"] for hit in found["hits"]] == [TRIP]
    [params] = asked(gateway, "sessions.search")
    assert params["scope"]["agentId"] == "main"  # type: ignore[index]


async def test_older_messages_are_sent_on_request(tab: Tab, gateway: FakeGateway) -> None:
    for number in range(250):
        await gateway.row(
            {"role": "user", "content": f"{number}", "__openclaw": {"id": f"m{number}"}}
        )
    await tab.send(type="history")
    newest = await tab.gets("history")
    texts = [message["text"] for message in newest["messages"]]
    place = newest["older"]
    while place is not None:
        await tab.send(type="history", before=place)
        older = await tab.gets("older")
        texts = [message["text"] for message in older["messages"]] + texts
        place = older.get("older")
    assert texts == [f"{number}" for number in range(250)]


async def test_a_conversation_is_forked_before_one_of_its_messages(
    tab: Tab, gateway: FakeGateway
) -> None:
    await gateway.change(TRIP_KEY, label="Trip")
    for number in range(3):
        row = {"role": "user", "content": f"{number}", "__openclaw": {"id": f"m{number}"}}
        await gateway.row(row | {"idempotencyKey": f"sent-{number}:user"}, TRIP_KEY)
    gateway.refusals_of["sessions.patch"].append(
        {"code": "INVALID_REQUEST", "message": "label already in use: Trip (2)"}
    )
    await tab.send(type="fork", conversation=TRIP, message="sent-1")
    forked = await tab.gets("forked", conversation=TRIP, message="sent-1")

    assert forked["text"] == "1"
    assert forked["fork"].startswith("d-")
    fork = f"agent:main:dashboard:{forked['fork'].removeprefix('d-')}"
    assert [row["content"] for row in gateway.transcripts[fork]] == ["0"]
    assert gateway.sessions[fork]["label"] == "Trip (3)"

    for unknown in ("sent-9", "m", "x" * 200):
        await tab.send(type="fork", conversation=TRIP, message=unknown)
        await tab.gets("error", code="no-such-message", conversation=TRIP)


@pytest.mark.parametrize(
    "conversation",
    [
        "agent:main:cron:daily",
        "agent:other:main",
        "../main",
        "",
        "MAIN",
        f"{TRIP}\n",
        "x" * 5000,
        7,
    ],
)
async def test_no_other_session_can_be_named(
    tab: Tab, gateway: FakeGateway, conversation: object
) -> None:
    for frame in (
        {"type": "history"},
        {"type": "send", "id": TAXES, "text": "hello"},
        {"type": "stop"},
        {"type": "change", "pinned": True},
        {"type": "delete"},
    ):
        await tab.send(**frame, conversation=conversation)
        await tab.gets("error", code="invalid-frame")
    assert gateway.asked == []
