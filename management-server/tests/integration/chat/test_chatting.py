"""A conversation over `/api/chat` with a scripted gateway."""

import asyncio
from collections.abc import Awaitable, Callable

import httpx2
import pytest
from fastapi import FastAPI
from ocmt_management.agents.repository import AgentRepository
from ocmt_management.chat import conversation
from ocmt_management.llm.errors import ModelError
from ocmt_testing.management.agent_server import FakeAgentServer
from ocmt_testing.management.gateway import FakeGateway
from ocmt_testing.management.page import Tab
from ocmt_testing.management.people import agent_is, id_of

OpenTab = Callable[[httpx2.AsyncClient], Awaitable[Tab]]
SignIn = Callable[[str], Awaitable[httpx2.AsyncClient]]


def methods(gateway: FakeGateway) -> list[str]:
    return [method for method, _ in gateway.asked]


async def test_an_open_chat_shows_the_agents_state_and_never_wakes_it(
    app: FastAPI,
    tab: Tab,
    gateway: FakeGateway,
    agent_server: FakeAgentServer,
    ada: httpx2.AsyncClient,
) -> None:
    assert (await tab.gets("status"))["state"] == "running"
    user_id = await id_of(ada)
    for state in ("paused", "stopped"):
        agent_server.move(user_id, state)
        status = await tab.gets("status", state=state)
        assert status["since"]
    await tab.send(type="stop")
    await tab.send(type="nonsense")
    await tab.gets("error", code="invalid-frame")

    assert gateway.asked == []
    assert gateway.sockets == []
    assert agent_server.woken == []


async def test_a_message_is_accepted_streamed_and_answered(tab: Tab, gateway: FakeGateway) -> None:
    sent = await tab.say("Hello?")
    assert (await tab.gets("accepted", id=sent))["runId"] == sent
    await gateway.say(sent, "Hel")
    await gateway.say(sent, "lo.")
    await gateway.finish(sent)

    assert (await tab.gets("delta", runId=sent))["text"] == "Hel"
    assert (await tab.gets("delta", runId=sent))["text"] == "lo."
    final = await tab.gets("final", runId=sent)
    assert (final["message"]["role"], final["message"]["text"]) == ("assistant", "Hello.")

    await tab.send(type="history")
    history = (await tab.gets("history"))["messages"]
    assert [(m["role"], m["text"]) for m in history] == [
        ("user", "Hello?"),
        ("assistant", "Hello."),
    ]
    assert [m["id"] for m in history] == [sent, final["message"]["id"]]


async def test_the_same_message_twice_is_one_message(tab: Tab, gateway: FakeGateway) -> None:
    sent = await tab.say("Hello?")
    await tab.gets("accepted", id=sent)
    await tab.say("Hello?", sent)
    await tab.gets("accepted", id=sent)
    await gateway.say(sent, "Hi.")
    await gateway.finish(sent)
    await tab.gets("final", runId=sent)
    await tab.say("Hello?", sent)
    await tab.gets("accepted", id=sent)

    assert [row["content"] for row in gateway.rows if row["role"] == "user"] == ["Hello?"]


async def test_one_gateway_connection_serves_a_whole_chat(tab: Tab, gateway: FakeGateway) -> None:
    for text in ("one", "two", "three"):
        sent = await tab.say(text)
        await tab.gets("accepted", id=sent)
        await gateway.finish(sent)
        await tab.gets("final", runId=sent)

    assert len(gateway.sockets) == 1
    assert methods(gateway).count("sessions.messages.subscribe") == 1
    assert [p["message"] for m, p in gateway.asked if m == "chat.send"] == ["one", "two", "three"]
    assert {p["sessionKey"] for m, p in gateway.asked if m == "chat.send"} == {"main"}


async def test_a_second_tab_sees_the_same_conversation_live(
    tab: Tab, ada: httpx2.AsyncClient, open_tab: OpenTab, gateway: FakeGateway
) -> None:
    other = await open_tab(ada)
    await other.send(type="history")
    assert (await other.gets("history"))["messages"] == []

    sent = await tab.say("Hello?")
    await tab.gets("accepted")
    unasked = await other.gets("history")
    assert [(m["id"], m["text"]) for m in unasked["messages"]] == [(sent, "Hello?")]
    await gateway.say(sent, "Hi.")
    await gateway.finish(sent)

    for one in (tab, other):
        await one.gets("delta", runId=sent, text="Hi.")
        assert (await one.gets("final", runId=sent))["message"]["text"] == "Hi."


async def test_a_tab_opened_in_the_middle_of_an_answer_gets_what_was_said(
    tab: Tab, ada: httpx2.AsyncClient, open_tab: OpenTab, gateway: FakeGateway
) -> None:
    sent = await tab.say("Hello?")
    await tab.gets("accepted")
    await gateway.say(sent, "Once upon")
    late = await open_tab(ada)
    await late.send(type="history")
    assert (await late.gets("delta", runId=sent))["text"] == "Once upon"
    await gateway.say(sent, " a time.")
    assert (await late.gets("delta", runId=sent))["text"] == " a time."


async def test_stop_ends_the_answer(tab: Tab, gateway: FakeGateway) -> None:
    sent = await tab.say("Tell me a long story")
    await tab.gets("accepted")
    await gateway.say(sent, "Once")
    await tab.send(type="stop")

    await tab.gets("aborted", runId=sent)


async def test_a_message_that_joins_a_run_ends_without_an_answer_of_its_own(
    tab: Tab, gateway: FakeGateway
) -> None:
    first = await tab.say("one")
    await tab.gets("accepted")
    second = await tab.say("two")
    await tab.gets("accepted")
    await gateway.join(second)

    assert (await tab.gets("final", runId=second))["message"]["text"] == ""
    await gateway.say(first, "both")
    await gateway.finish(first)
    assert (await tab.gets("final", runId=first))["message"]["text"] == "both"


async def test_a_failed_run_shows_why_the_model_failed(
    app: FastAPI, tab: Tab, gateway: FakeGateway, ada: httpx2.AsyncClient
) -> None:
    sent = await tab.say("Hello?")
    await tab.gets("accepted")
    app.state.llm.last_errors.record(await id_of(ada), ModelError("why", "OpenAI is asleep."))
    await gateway.fail(sent, "request failed")

    error = await tab.gets("error", id=sent)
    assert (error["code"], error["detail"], error["retry"]) == ("why", "OpenAI is asleep.", True)

    app.state.llm.last_errors.forget(await id_of(ada))
    sent = await tab.say("Hello again?")
    await tab.gets("accepted")
    await gateway.fail(sent, "SqliteWorkerError: database or disk is full")
    error = await tab.gets("error", id=sent)
    assert error["code"] == "disk-full"
    assert "free some space" in error["detail"]
    assert [frame for frame in tab.frames if frame["type"] == "error"] == []


async def test_a_starting_gateway_is_tried_again(tab: Tab, gateway: FakeGateway) -> None:
    starting = {"code": "UNAVAILABLE", "message": "startup", "retryable": True, "retryAfterMs": 5}
    gateway.refusals = [starting, starting]
    sent = await tab.say("Hello?")

    await tab.gets("accepted", id=sent)


async def test_a_refusal_of_the_gateway_is_shown_for_its_message(
    tab: Tab, gateway: FakeGateway
) -> None:
    await tab.send(type="history")
    await tab.gets("history")
    gateway.refusals = [{"code": "INVALID_REQUEST", "message": "message too long"}]
    sent = await tab.say("Hello?")

    error = await tab.gets("error", id=sent)
    assert (error["code"], error["detail"]) == ("agent-refused", "message too long")
    assert error["retry"] is False


@pytest.mark.parametrize("command", ["/new", "/reset", " /NEW hello", "/new: hi"])
async def test_a_command_that_the_chat_has_no_right_to_is_refused_in_words(
    tab: Tab, gateway: FakeGateway, command: str
) -> None:
    sent = await tab.say(command)

    error = await tab.gets("error", id=sent)
    assert (error["code"], error["retry"]) == ("no-new-conversation", False)
    assert "/compact" in error["detail"]
    for message in ("/newsletter ideas", "what does /new do?"):
        await tab.gets("accepted", id=await tab.say(message))
    assert next(p["message"] for m, p in gateway.asked if m == "chat.send") == "/newsletter ideas"


async def test_an_answer_goes_on_after_the_connection_broke(tab: Tab, gateway: FakeGateway) -> None:
    sent = await tab.say("Hello?")
    await tab.gets("accepted")
    await gateway.say(sent, "Once")
    await tab.gets("delta", text="Once")
    gateway.runs[sent] += " upon"  # said while no client is connected
    await gateway.drop()

    assert (await tab.gets("delta", runId=sent))["text"] == " upon"
    await gateway.say(sent, " a time.")
    await gateway.finish(sent)
    assert (await tab.gets("final", runId=sent))["message"]["text"] == "Once upon a time."


async def test_an_answer_that_ended_while_disconnected_is_found_in_the_history(
    tab: Tab, gateway: FakeGateway
) -> None:
    sent = await tab.say("Hello?")
    await tab.gets("accepted")
    await gateway.drop()
    gateway.runs[sent] = "Hi."
    await gateway.finish(sent)

    assert (await tab.gets("final", runId=sent))["message"]["text"] == "Hi."


async def test_an_answer_lost_with_its_gateway_can_be_requested_again(
    tab: Tab, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "_RESUMED_WITHIN_S", 0.0)
    sent = await tab.say("Hello?")
    await tab.gets("accepted")
    await gateway.say(sent, "Once")
    await gateway.crash()

    error = await tab.gets("error", id=sent)
    assert (error["code"], error["retry"]) == ("answer-lost", True)
    again = await tab.say("Hello?")
    await tab.gets("accepted", id=again)
    await gateway.say(again, "Hi.")
    await gateway.finish(again)
    assert (await tab.gets("final", runId=again))["message"]["text"] == "Hi."


async def test_an_answer_resumed_by_a_restarted_gateway_continues_in_place(
    tab: Tab, gateway: FakeGateway
) -> None:
    sent = await tab.say("Hello?")
    await tab.gets("accepted")
    await gateway.say(sent, "Once upon")
    await gateway.crash()
    gateway.runs["resumed"] = "Once upon a"

    assert (await tab.gets("delta", runId=sent, text=" a"))["text"] == " a"
    await gateway.say("resumed", " time.")
    await gateway.finish("resumed")
    assert (await tab.gets("final", runId=sent))["message"]["text"] == "Once upon a time."


async def test_the_chat_outlives_an_agent_server_that_goes_and_comes_back(
    app: FastAPI,
    tab: Tab,
    gateway: FakeGateway,
    agent_server: FakeAgentServer,
    ada: httpx2.AsyncClient,
) -> None:
    await tab.send(type="history")
    await tab.gets("history")
    agent_server.hang_up()
    await gateway.drop()
    await agent_server.server.stop()
    await tab.gets("status", state="unreachable")
    sent = await tab.say("Hello?")
    error = await tab.gets("error", id=sent)
    assert (error["code"], error["retry"]) == ("agent-server-unreachable", True)

    await agent_server.server.start()
    await tab.gets("status", state="running")
    await tab.gets("history")  # what happened meanwhile, without a request
    await tab.say("Hello?", sent)
    await tab.gets("accepted", id=sent)


async def test_an_idle_tab_is_updated_when_the_agent_returns(
    tab: Tab, gateway: FakeGateway, agent_server: FakeAgentServer, ada: httpx2.AsyncClient
) -> None:
    await tab.send(type="history")
    await tab.gets("history")
    user_id = await id_of(ada)
    agent_server.move(user_id, "stopped")
    await tab.gets("status", state="stopped")
    gateway.subscribed.clear()
    agent_server.move(user_id, "running")
    await tab.gets("history")

    assert methods(gateway).count("sessions.messages.subscribe") == 2


async def test_an_agent_that_its_server_lost_is_provisioned_again(
    app: FastAPI, tab: Tab, agent_server: FakeAgentServer, ada: httpx2.AsyncClient
) -> None:
    await tab.gets("status", state="running")
    user_id = await id_of(ada)
    agent_server.forget(user_id)
    sent = await tab.say("Hello?")
    error = await tab.gets("error", id=sent)
    assert (error["code"], error["retry"]) == ("no-such-agent", True)

    await tab.gets("status", state="running")
    await tab.say("Hello?", sent)
    await tab.gets("accepted", id=sent)


async def test_an_agent_being_provisioned_gets_no_messages(
    sign_in: SignIn, open_tab: OpenTab, agent_server: FakeAgentServer, app: FastAPI
) -> None:
    agent_server.hold = asyncio.Event()
    bob = await sign_in("bob@example.com")
    tab = await open_tab(bob)
    await tab.gets("status", state="provisioning")
    sent = await tab.say("Hello?")
    error = await tab.gets("error", id=sent)
    assert (error["code"], error["retry"]) == ("agent-provisioning", True)

    agent_server.hold.set()
    await agent_is(app, await id_of(bob), "running")
    await tab.gets("status", state="running")
    await tab.say("Hello?", sent)
    await tab.gets("accepted", id=sent)


async def test_an_agent_left_unfinished_by_an_ended_server_is_provisioned_on_the_next_view(
    sign_in: SignIn, open_tab: OpenTab, agent_server: FakeAgentServer, app: FastAPI
) -> None:
    bob = await sign_in("bob@example.com")
    user_id = await id_of(bob)
    await agent_is(app, user_id, "running")
    async with app.state.database.write() as session:
        await AgentRepository(session).begin(user_id, b"of the ended one", app.state.clock())

    tab = await open_tab(bob)
    await tab.gets("status", state="provisioning")
    await tab.gets("status", state="running")
    assert len(agent_server.provisioned) == 2
