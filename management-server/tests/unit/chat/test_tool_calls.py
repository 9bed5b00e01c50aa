"""Calls of tools in OpenClaw's rows, live and in the history."""

from typing import Any

import pytest
from ocmt_management.chat import history
from ocmt_management.chat.tool_calls import ToolCalls, thoughts_of
from ocmt_management.chat.transcript import Runs

KEY = "agent:main:main"


def row(role: str, content: Any, run_id: str = "r1", **more: Any) -> dict[str, Any]:
    meta = {"id": f"row-{content}"[:40], "runId": run_id}
    return {"role": role, "content": content, "timestamp": 1, "__openclaw": meta} | more


def call(call_id: str = "c1", name: str = "exec", **arguments: Any) -> dict[str, Any]:
    return {"type": "toolCall", "id": call_id, "name": name, "arguments": arguments}


def calling(*calls: dict[str, Any], text: str = "", thinking: str = "") -> dict[str, Any]:
    thoughts = [{"type": "thinking", "thinking": thinking}] if thinking else []
    texts = [{"type": "text", "text": text}] if text else []
    return row("assistant", [*thoughts, *texts, *calls], stopReason="toolUse")


def result(text: str, call_id: str = "c1", **more: Any) -> dict[str, Any]:
    content = [{"type": "text", "text": text}]
    return row("toolResult", content, toolCallId=call_id, toolName="exec", **more)


def event(text: str, call_id: str = "c1", **more: Any) -> dict[str, Any]:
    """`session.tool`, as recorded."""
    told = {"content": [{"type": "text", "text": text}], "details": {"status": "completed"}}
    data = {"phase": "result", "name": "exec", "toolCallId": call_id, "result": told} | more
    return {"sessionKey": KEY, "runId": "r1", "stream": "tool", "data": data}


def outcome(status: str, call_id: str = "c1") -> dict[str, Any]:
    """`agent`, as recorded."""
    data = {"itemId": f"tool:{call_id}", "toolCallId": call_id, "phase": "end", "status": status}
    return {"sessionKey": KEY, "runId": "r1", "stream": "item", "data": data}


def said(text: str) -> dict[str, Any]:
    return row("assistant", [{"type": "text", "text": text}], stopReason="stop")


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text, "idempotencyKey": f"{text}:user", "timestamp": 1}


def tools_of(*rows: dict[str, Any], **more: Any) -> list[Any]:
    shown = history.messages({"messages": list(rows), **more})
    return [message.get("tools", []) for message in shown]


def test_a_call_and_its_result_are_part_of_the_answer() -> None:
    turn = calling(call(command="ls\nrm"), thinking="Let me look."), result("a.txt"), said("One.")
    [question, answer] = history.messages({"messages": [user("What?"), *turn]})

    assert question["text"] == "What?"
    assert (answer["text"], answer.get("thoughts")) == ("One.", "Let me look.")
    assert answer["tools"] == [
        {
            "id": "c1",
            "name": "exec",
            "state": "done",
            "subject": "ls",
            "arguments": '{\n  "command": "ls\\nrm"\n}',
            "result": "a.txt",
        }
    ]


@pytest.mark.parametrize(
    ("more", "state"),
    [
        ({}, "done"),
        ({"isError": True}, "failed"),
        ({"details": {"exitCode": 0, "status": "completed"}}, "done"),
        ({"details": {"exitCode": 1, "status": "completed"}}, "failed"),
        ({"details": {"status": "error"}}, "failed"),
        ({"details": "odd"}, "done"),
    ],
)
def test_a_call_failed_if_its_tool_or_command_did(more: dict[str, Any], state: str) -> None:
    [[], [found]] = tools_of(user("?"), calling(call()), result("x", **more))
    assert found["state"] == state


@pytest.mark.parametrize(("status", "state"), [("completed", "done"), ("failed", "failed")])
def test_whether_a_command_failed_is_in_the_activity_alone(status: str, state: str) -> None:
    told = result("exit code 1") | {"__openclaw": {"id": "row-9", "runId": "r1"}}
    item = {"toolCallId": "c1", "status": status}
    activity = [None, {}, {"messageId": "row-9", "items": [None, item]}]
    [[], [found]] = tools_of(user("?"), calling(call()), told, activity=activity)
    assert found["state"] == state


def test_ids_that_come_again_in_a_later_turn_are_other_calls() -> None:
    rows = [user("1"), calling(call(command="a")), result("A"), said("1!")]
    rows += [user("2"), calling(call(command="b")), result("B"), said("2!")]
    assert [tool["result"] for tools in tools_of(*rows) for tool in tools] == ["A", "B"]


def test_a_call_without_a_result_was_stopped_with_its_turn() -> None:
    [[], [found]] = tools_of(user("?"), calling(call(), text="Let me see."))
    assert found["state"] == "stopped"


def test_a_turn_with_calls_alone_is_no_answer() -> None:
    rows = [user("?") | {"timestamp": 0}, calling(call()), result("x")]
    payload = {"messages": rows, "sessionInfo": {"hasActiveRun": False}}
    [question, _] = history.messages(payload, now_ms=10_000_000)
    assert question["state"] == "failed"


def test_a_failed_turn_stays_failed_when_the_next_attempt_only_worked() -> None:
    notice = row("assistant", "⚠️ LLM request failed (HTTP 500).", "r1", stopReason="error")
    retry = calling(call()) | {"__openclaw": {"id": "x", "runId": "r2"}}
    [question, _] = history.messages({"messages": [user("?"), notice, retry]})
    assert question["state"] == "failed"


def test_tools_of_connected_servers_are_named_by_server_and_tool() -> None:
    through = call(name="tool_call", id="ocmt__notes__echo", args={"text": "hi"})
    direct = call("c2", "ocmt__mail__send", to="a@example.org", message="Hello")
    [[], [one, other]] = tools_of(user("?"), calling(through, direct))

    assert (one["name"], one["subject"]) == ("notes__echo", "hi")
    assert one["arguments"] == '{\n  "text": "hi"\n}'
    assert (other["name"], other["subject"]) == ("mail__send", "Hello")


@pytest.mark.parametrize(
    "part",
    [
        {"type": "toolCall"},
        {"type": "toolCall", "id": 5, "name": "exec"},
        {"type": "toolCall", "id": "", "arguments": []},
        {"type": "toolCall", "id": "c", "name": {}, "arguments": "{broken"},
        {"type": "toolCall", "id": "c", "name": "x" * 9_000, "arguments": {"path": "y" * 9_000}},
        {"type": "toolCall", "id": "c", "name": "tool_call", "arguments": {"id": 5, "args": 3}},
        {"type": "thinking", "thinking": 7},
        None,
    ],
)
def test_odd_calls_are_bounded_or_left_out(part: Any) -> None:
    odd = row("assistant", [part])
    found = ToolCalls().begun_by(odd)
    assert thoughts_of(odd) == ""
    assert len(str(found)) < 5_000
    history.messages({"messages": [odd, result("x", "c")]})


def test_long_results_and_many_calls_are_cut() -> None:
    many = [call(f"c{number}", command="x") for number in range(300)]
    [tools] = tools_of(calling(*many), result("r" * 100_000, "c299"))
    assert len(tools) == 100
    assert len(tools[-1]["result"]) < 4_100


def test_a_run_in_progress_has_its_calls_after_a_reload() -> None:
    states = history.run_states(
        {
            "messages": [
                user("?"),
                calling(call(), thinking="hm"),
                result("x"),
                calling(call("c2")),
            ],
            "inFlightRun": {"runId": "r1", "text": ""},
        }
    )
    assert [(tool["id"], tool["state"]) for tool in states.tools] == [
        ("c1", "done"),
        ("c2", "running"),
    ]
    assert states.thoughts == "hm"

    runs = Runs()
    assert len(runs.resume_work("r1", states.tools, states.thoughts)) == 3
    ended = runs.on_result("session.tool", event("y", "c2"))
    assert ended == {
        "type": "work",
        "runId": "r1",
        "tool": {**states.tools[1], "state": "done", "result": "y"},
    }


def test_rows_show_calls_as_they_begin_and_end() -> None:
    runs = Runs()

    def on(message: dict[str, Any]) -> list[Any]:
        return runs.on_row({"sessionKey": KEY, "message": message})

    [begun, thoughts] = on(calling(call(), thinking="one"))
    assert begun["tool"]["state"] == "running"
    assert thoughts == {"type": "work", "runId": "r1", "thoughts": "one"}
    ended: Any = runs.on_result("session.tool", event("boom", isError=True))
    assert (ended["runId"], ended["tool"]["state"]) == ("r1", "failed")
    assert ended["tool"]["result"] == "boom"
    assert runs.on_result("agent", outcome("completed")) is None  # it has ended
    assert begun["tool"]["state"] == "running"  # what was sent stays as it was
    [_, more] = on(calling(call("c2"), thinking="two"))
    assert more["thoughts"] == "one\n\ntwo"

    other: Any = runs.on_result("agent", outcome("failed", "c2"))  # for who follows no list
    assert other["tool"]["state"] == "failed"
    on(calling(call("c3")))
    runs.ended("r1")
    assert runs.on_result("session.tool", event("late", "c3")) is None
    assert on(calling(call("c4"))) == []
    assert runs.on_result("session.tool", event("of nobody", "c9")) is None
    assert runs.on_row({"sessionKey": "agent:main:other", "message": calling(call())}) == []
