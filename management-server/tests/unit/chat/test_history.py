"""OpenClaw's history, as recorded from it, as the page's messages."""

from typing import Any
from uuid import uuid4

import pytest
from ocmt_management.chat import history
from ocmt_management.chat.rows import next_attempt

AT = 1795455429310


def assistant(text: str, run_id: str | None = None, **more: Any) -> dict[str, Any]:
    meta = {"__openclaw": {"id": f"row-of-{run_id}", "runId": run_id}} if run_id else {}
    content = [{"type": "text", "text": text}]
    return {"role": "assistant", "content": content, "timestamp": AT} | meta | more


def user(text: str, message_id: str, at: int = AT) -> dict[str, Any]:
    return {
        "role": "user",
        "content": text,
        "timestamp": at,
        "idempotencyKey": f"{message_id}:user",
        "__openclaw": {"id": "row-1"},
    }


def waiting(text: str, run_id: str, state: str = "queued", at: int = AT) -> dict[str, Any]:
    message = {"role": "user", "content": text, "__openclaw": {"id": f"pending:{run_id}"}}
    return {"id": "i", "runId": run_id, "message": message, "acceptedAt": at, "state": state}


def of(*rows: dict[str, Any], pending: tuple[dict[str, Any], ...] = (), **more: Any) -> Any:
    return {"messages": list(rows), "pendingInputs": {"items": list(pending)}, **more}


def shown(payload: dict[str, Any], last_error: str | None = None) -> list[tuple[str, str]]:
    """Text and state of each message."""
    messages = history.messages(payload, last_error=last_error)
    return [(message["text"], message.get("state", "")) for message in messages]


def test_it_has_the_messages_newest_last() -> None:
    tool_use = {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "hm"},
            {"type": "text", "text": "Let me look."},
            {"type": "toolCall", "name": "exec", "arguments": {}},
        ],
        "stopReason": "toolUse",
        "__openclaw": {"id": "row-2", "runId": "r1"},
    }
    answer = assistant("Done.") | {"__openclaw": {"id": "row-4", "runId": "r1"}}
    messages = [
        user("Do it", "sent-id"),
        tool_use,
        {"role": "toolResult", "content": "hi"},
        answer,
        {"role": "custom", "content": "This turn ended before a reply"},
        {"role": "assistant", "content": []},
    ]

    assert [(m["id"], m["role"], m["text"]) for m in history.messages(of(*messages))] == [
        ("sent-id", "user", "Do it"),
        ("row-4", "assistant", "Let me look.\n\nDone."),
    ]


def test_a_run_that_joined_two_questions_stays_apart() -> None:
    messages = [user("1", "m1"), assistant("a", "r1"), user("2", "m2"), assistant("b", "r1")]

    assert [text for text, _ in shown(of(*messages))] == ["1", "a", "2", "b"]


@pytest.mark.parametrize("payload", [{}, {"messages": 5}, {"messages": [None, 3, {"role": []}]}])
def test_an_odd_history_is_an_empty_one(payload: dict[str, Any]) -> None:
    assert history.messages(payload) == []
    assert history.run_states(payload).answers == {}


def test_it_shows_the_state_of_runs() -> None:
    done = assistant("Done.", "done", stopReason="stop")
    said = assistant("Looking.", "busy")
    call = assistant("", "busy", stopReason="toolUse")
    states = history.run_states(
        of(
            done,
            said,
            call,
            inFlightRun={"runId": "flying", "text": "Hel"},
            pending=(waiting("x", "queued"), waiting("y", "lost", "interrupted"), {}),
        )
    )

    assert states.in_progress == {"flying": "Hel"}
    assert states.queued == {"queued"}
    assert states.answers == {"done": ("Done.", AT)}


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("Let me run a tool.", "Let me run a tool."),
        ("Let me run a tool.\n\nIt says", "Let me run a tool.\n\nIt says"),
        ("", "Let me run a tool."),
    ],
)
def test_an_answer_in_progress_is_in_the_history_once(text: str, whole: str) -> None:
    """It is stored in part before each tool call."""
    part = assistant("Let me run a tool.", "r1", stopReason="toolUse")
    payload = of(user("Do it", "m1"), part, inFlightRun={"runId": "r1", "text": text})

    assert shown(payload) == [("Do it", "")]
    assert history.run_states(payload).in_progress == {"r1": whole}
    assert history.run_states(payload).answers == {}


def test_messages_that_wait_for_their_turn_come_last() -> None:
    flying = {"runId": "m1", "text": ""}
    payload = of(
        user("one", "m1"),
        pending=(waiting("two", "m2"), waiting("three", "m3")),
        inFlightRun=flying,
    )

    assert shown(payload) == [("one", ""), ("two", "queued"), ("three", "queued")]
    assert [m["id"] for m in history.messages(payload)] == ["m1", "m2", "m3"]


def test_a_message_whose_turn_begins_does_not_wait() -> None:
    payload = of(pending=(waiting("one", "m1"),), inFlightRun={"runId": "m1", "text": ""})

    assert shown(payload) == [("one", "")]
    assert history.run_states(payload).in_progress == {"m1": ""}


def test_a_message_waits_although_its_run_is_the_one_in_flight() -> None:
    payload = of(
        pending=(waiting("one", "m1"), waiting("two", "m2")),
        inFlightRun={"runId": "m2", "text": ""},
    )

    assert shown(payload) == [("one", "queued"), ("two", "queued")]
    assert history.run_states(payload).in_progress == {"m2": ""}


@pytest.mark.parametrize(("state", "detail"), [("interrupted", "restarted"), ("cancelled", "You")])
def test_messages_that_the_agent_never_read_are_shown_where_they_were_written(
    state: str, detail: str
) -> None:
    payload = of(
        user("one", "m1", AT),
        user("three", "m3", AT + 2_000),
        pending=(waiting("two", "m2", state, AT + 1_000),),
    )

    assert shown(payload) == [("one", ""), ("two", "failed"), ("three", "")]
    assert detail in history.messages(payload)[1]["detail"]


def test_unread_messages_older_than_the_page_of_history_are_not_shown() -> None:
    old = waiting("old", "m0", "interrupted", AT - 1_000)

    assert shown(of(user("one", "m1"), pending=(old,), hasMore=True)) == [("one", "")]
    assert shown(of(user("one", "m1"), pending=(old,))) == [("old", "failed"), ("one", "")]


def test_a_message_that_was_sent_again_is_not_offered_again() -> None:
    first = str(uuid4())
    second = str(next_attempt(first))
    third = str(next_attempt(second))
    failed = assistant("⚠️ LLM request failed (HTTP 424).", "r", stopReason="error")

    unread = waiting("hi", first, "interrupted")
    assert shown(of(user("hi", second), pending=(unread,))) == [("hi", "")]
    payload = of(user("hi", first), failed, user("hi", second), failed, user("hi", third))
    assert shown(payload) == [("hi", "")] * 3


@pytest.mark.parametrize(
    ("notice", "detail"),
    [
        ("⚠️ LLM request failed (HTTP 424).", "Check your key"),
        ("⚠️ ocmt/default request failed (rate limited, HTTP 429). This is usually", "rate limit"),
        ("⚠️ LLM request failed (provider internal error, HTTP 502).", "had a problem"),
        ("⚠️ Agent run failed: the Gateway state database was full (disk is full).", "disk"),
        ("The agent run failed before producing a reply.", "produc"),
    ],
)
def test_a_failed_turn_marks_its_question(notice: str, detail: str) -> None:
    payload = of(user("hi", "m1"), assistant(notice, "m1", stopReason="error"))

    [message] = history.messages(payload)
    assert (message["text"], message["state"]) == ("hi", "failed")
    assert detail in message["detail"]
    assert "HTTP" not in message["detail"]
    assert "⚠️" not in message["detail"]


def test_a_turn_that_failed_before_it_began_marks_its_question_too() -> None:
    lost = {"role": "custom", "customType": "run-failed-before-reply", "content": "ended before"}

    assert shown(of(user("hi", "m1"), lost)) == [("hi", "failed")]


def test_a_turn_that_was_stopped_before_it_began_did_not_fail() -> None:
    content = "This turn ended before a reply: aborted | This operation was aborted | 20"
    stopped = {"role": "custom", "customType": "run-failed-before-reply", "content": content}

    assert shown(of(user("hi", "m1"), stopped)) == [("hi", ""), ("", "stopped")]


def test_what_was_said_before_a_failure_stays() -> None:
    payload = of(user("hi", "m1"), assistant("Half an ans", "m1", stopReason="error"))

    assert shown(payload) == [("hi", "failed"), ("Half an ans", "")]


@pytest.mark.parametrize(
    ("active", "age_s", "state"),
    [(False, 90, "failed"), (False, 5, ""), (True, 90, ""), (None, 90, "")],
)
def test_a_message_that_a_restart_left_without_an_answer_can_be_sent_again(
    active: bool | None, age_s: int, state: str
) -> None:
    info: dict[str, Any] = {"sessionInfo": {"hasActiveRun": active}}
    now_ms = AT + age_s * 1000

    def states(*rows: dict[str, Any]) -> list[str]:
        return [m.get("state", "") for m in history.messages(of(*rows, **info), now_ms=now_ms)]

    assert states(user("hi", "m1")) == [state]
    assert states(user("hi", "m1"), assistant("Hi.", "m1")) == ["", ""]


def test_a_question_that_was_answered_in_another_attempt_did_not_fail() -> None:
    failed = assistant("⚠️ LLM request failed.", "m1", stopReason="error")

    assert shown(of(user("hi", "m1"), failed, assistant("Hi.", "m1"))) == [("hi", ""), ("Hi.", "")]


def test_the_last_model_error_explains_the_last_failure_only() -> None:
    failed = assistant("⚠️ LLM request failed (HTTP 424).", "m1", stopReason="error")
    payload = of(user("one", "m1"), failed, user("two", "m2"), failed)

    details = [m["detail"] for m in history.messages(payload, last_error="OpenAI is asleep.")]
    assert details[0] != "OpenAI is asleep."
    assert details[1] == "OpenAI is asleep."
    after = of(user("one", "m1"), failed, user("two", "m2"), assistant("Yes.", "m2"))
    assert "OpenAI" not in str(history.messages(after, last_error="OpenAI is asleep."))


def test_a_stopped_answer_is_marked() -> None:
    stopped = assistant("Half an ans", "m1", openclawAbort={"aborted": True, "origin": "rpc"})

    assert shown(of(user("hi", "m1"), stopped)) == [("hi", ""), ("Half an ans", "stopped")]


FILE = "0b8a3c1e-9a2b-4c3d-8e4f-5a6b7c8d9e0f"
URL = f"/api/chat/media/outgoing/agent%3Amain%3Amain/{FILE}/full"


@pytest.mark.parametrize(
    ("part", "file"),
    [
        (
            {"type": "image", "url": URL, "alt": "A dot"},
            {"kind": "image", "name": "A dot", "url": f"/api/chat/files/agent:main:main/{FILE}"},
        ),
        (
            {"type": "audio", "url": f"{URL}?playback=1", "fileName": "a.mp3"},
            {"kind": "audio", "name": "a.mp3", "url": f"/api/chat/files/agent:main:main/{FILE}"},
        ),
        (
            {
                "type": "attachment",
                "attachment": {"url": URL, "kind": "document", "label": "a.pdf"},
            },
            {"kind": "document", "name": "a.pdf", "url": f"/api/chat/files/agent:main:main/{FILE}"},
        ),
        (
            {"type": "attachment_error", "attachment": {"kind": "image", "label": "dot.png"}},
            {"kind": "image", "name": "dot.png", "url": None},
        ),
        (
            {"type": "image", "url": "https://evil.example/seen.png"},
            {"kind": "image", "name": "image", "url": None},
        ),
        (
            {"type": "image", "url": f"/api/chat/media/outgoing/..%2F..%2Fx/{FILE}/full"},
            {"kind": "image", "name": "image", "url": None},
        ),
    ],
)
def test_files_that_the_agent_sent_are_in_the_message(
    part: dict[str, Any], file: dict[str, Any]
) -> None:
    row = assistant("Here:") | {"content": [{"type": "text", "text": "Here:"}, part]}
    alone = assistant("") | {"content": [part]}

    assert [m.get("files") for m in history.messages(of(row, alone))] == [[file], [file]]


def test_placeholders_of_large_messages_are_found_and_said_in_words() -> None:
    def placeholder(role: str, row: str) -> dict[str, Any]:
        text = "[chat.history omitted: message too large]"
        meta = {"id": row, "truncated": True, "reason": "oversized"}
        return {"role": role, "content": text, "__openclaw": meta}

    rows = [placeholder("user", "1"), placeholder("toolResult", "2"), placeholder("assistant", "3")]
    payload = of(*rows)

    assert [row["__openclaw"]["id"] for row in history.omitted(payload)] == ["3", "1"]
    assert shown(payload) == [(history.TOO_LONG, ""), (history.TOO_LONG, "")]


@pytest.mark.parametrize("message_id", ["row-1", "", "not-a-uuid"])
def test_only_ids_of_the_page_have_a_next_attempt(message_id: str) -> None:
    assert next_attempt(message_id) is None


def test_what_the_server_tells_the_agent_of_a_decision_is_not_a_message_of_the_user() -> None:
    outcome = user("[OCMT] About call number 1", "approval:0b6c:done")
    told = waiting("[OCMT] About call number 2", "approval:17aa:done", "interrupted")
    failed = assistant("⚠️ The model is away", "r2", stopReason="error")

    whole = of(user("Hi", "m1"), assistant("Sent.", "r1"), outcome, failed, pending=(told,))

    assert shown(whole) == [("Hi", ""), ("Sent.", "")]


def test_files_that_the_user_attached_are_part_of_the_message() -> None:
    kept = "dot---82e01ba4-2d23-4319-ae25-9f158c51015d.png"
    media = [
        {"url": f"media://inbound/{kept}", "kind": "image", "fileName": "dot.png"},
        {"url": "media://inbound/ü & x.txt", "kind": "document", "fileName": "../<b>.txt"},
        {"url": "https://example.org/x", "kind": "odd"},
        None,
    ]
    row = user("", "m1") | {"__openclaw": {"id": "row-1", "media": media}}
    [message] = history.messages(of(row))

    assert message["files"] == [
        {"kind": "image", "name": "dot.png", "url": f"/api/chat/attachments?name={kept}"},
        {
            "kind": "document",
            "name": "../<b>.txt",
            "url": "/api/chat/attachments?name=%C3%BC%20%26%20x.txt",
        },
        {"kind": "document", "name": "document", "url": None},
        {"kind": "document", "name": "document", "url": None},
    ]
    odd = user("text", "m2") | {"__openclaw": {"id": "row-2", "media": "odd"}}
    assert "files" not in history.messages(of(odd))[0]
