"""OpenClaw's recorded events and history, as frames for the page."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ocmt_management.chat import history
from ocmt_management.chat.transcript import Failed, Runs

KEY = "agent:main:main"


def assistant(text: str) -> dict[str, Any]:
    content = [{"type": "text", "text": text}]
    return {"role": "assistant", "content": content, "timestamp": 1795455435245}


def chat(state: str, run_id: str = "r1", key: str = KEY, **more: Any) -> dict[str, Any]:
    return {"runId": run_id, "sessionKey": key, "agentId": "main", "state": state, **more}


def delta(whole: str, run_id: str = "r1") -> dict[str, Any]:
    return chat("delta", run_id, message=assistant(whole))


def frames_of(runs: Runs, *payloads: dict[str, Any]) -> list[Any]:
    return [frame for payload in payloads if (frame := runs.on_chat(payload)) is not None]


def test_an_answer_streams_in_and_ends() -> None:
    frames = frames_of(
        Runs(),
        chat("status", phase="preparing_context"),
        delta("Hello"),
        delta("Hello there"),
        chat("final", message=assistant("Hello there")),
    )

    assert frames == [
        {"type": "delta", "runId": "r1", "text": ""},
        {"type": "delta", "runId": "r1", "text": "Hello"},
        {"type": "delta", "runId": "r1", "text": " there"},
        {
            "type": "final",
            "runId": "r1",
            "message": {
                "id": "r1",
                "role": "assistant",
                "text": "Hello there",
                "at": "2026-11-23T17:37:15.245000+00:00",
            },
        },
    ]


@given(st.lists(st.text(alphabet="ab \n", max_size=6), max_size=8))
def test_deltas_joined_are_the_text_whatever_was_missed(pieces: list[str]) -> None:
    runs = Runs()
    text, page = "", ""
    for piece in pieces:
        text += piece
        for frame in frames_of(runs, delta(text)):
            page = frame["text"] if frame.get("replace") else page + frame["text"]

    assert page == text.strip()


def test_a_run_of_another_tab_is_announced_before_its_first_word() -> None:
    runs = Runs()
    runs.begin("mine")  # the page knows it by `accepted`

    assert runs.update("mine", "") is None
    assert runs.update("other", "") == {"type": "delta", "runId": "other", "text": ""}
    assert runs.update("other", "") is None


def test_withdrawn_text_replaces_what_was_shown() -> None:
    frames = frames_of(Runs(), delta("Let me think"), delta("Paris."))

    assert frames[1] == {"type": "delta", "runId": "r1", "text": "Paris.", "replace": True}


def test_the_final_message_has_the_id_it_has_in_the_history() -> None:
    runs = Runs()
    row = assistant("Hello") | {"__openclaw": {"id": "row-7", "runId": "r1"}}
    runs.record_row({"sessionKey": KEY, "message": row})
    final = frames_of(runs, chat("final", message=assistant("Hello")))[0]

    assert final["message"]["id"] == "row-7"
    assert history.messages({"messages": [row]})[0]["id"] == "row-7"


def test_a_message_that_joined_a_running_answer_ends_with_an_empty_one() -> None:
    frame = frames_of(Runs(), chat("final", "r2"))[0]

    assert (frame["type"], frame["runId"], frame["message"]["text"]) == ("final", "r2", "")


def test_a_failure_is_reported_once() -> None:
    failures = frames_of(
        Runs(),
        chat("error", errorMessage="request failed"),
        chat("error", errorMessage="Agent failed before reply: request failed"),
    )

    assert failures == [Failed("r1", "request failed")]


def test_nothing_follows_an_end() -> None:
    ended = [
        chat("aborted", message=assistant("Hel")),
        delta("Hello"),
        chat("final"),
        chat("status"),
    ]
    runs = Runs()

    assert frames_of(runs, *ended) == [{"type": "aborted", "runId": "r1"}]
    assert runs.in_progress == {}


def test_other_sessions_of_the_agent_are_not_the_conversation() -> None:
    assert frames_of(Runs(), chat("final", key="agent:main:cron:1", message=assistant("x"))) == []


def test_a_history_older_than_the_deltas_takes_nothing_back() -> None:
    runs = Runs()
    frames_of(runs, delta("Hello there"))

    assert runs.update("r1", "Hello") is None
    assert runs.update("r1", "Hello there you") == {
        "type": "delta",
        "runId": "r1",
        "text": " you",
    }


def test_a_run_taken_up_after_a_crash_goes_on_under_its_old_name() -> None:
    runs = Runs()
    frames_of(runs, delta("Hello the"))
    runs.resumed_by("r1", "resumed")

    frames = frames_of(runs, delta("Hello there", "resumed"), chat("final", "resumed"))

    assert [frame["runId"] for frame in frames] == ["r1", "r1"]
    assert frames[0]["text"] == "re"


@pytest.mark.parametrize("payload", [{}, {"runId": 5}, chat("delta"), chat("?"), chat("final")])
def test_odd_events_break_nothing(payload: dict[str, Any]) -> None:
    Runs().on_chat(payload)
    Runs().record_row(payload)
    Runs().is_news(payload)


def user(text: str, message_id: str) -> dict[str, Any]:
    return {
        "role": "user",
        "content": text,
        "timestamp": 1795455429310,
        "idempotencyKey": f"{message_id}:user",
        "__openclaw": {"id": "row-1"},
    }


def test_messages_of_other_tabs_are_distinguished_from_the_tabs_own() -> None:
    runs = Runs()
    runs.record_sent("mine")

    assert not runs.is_news({"sessionKey": KEY, "message": user("x", "mine")})
    assert runs.is_news({"sessionKey": KEY, "message": user("x", "other")})
    assert not runs.is_news({"sessionKey": KEY, "message": assistant("x")})


def test_a_message_that_waited_is_news_when_the_agent_reads_it() -> None:
    runs = Runs()
    runs.record_sent("mine")
    runs.begin("mine")
    frames_of(runs, chat("final", "mine"))
    row = {"sessionKey": KEY, "message": user("x", "mine")}

    assert [runs.is_news(row), runs.is_news(row)] == [True, False]


LONG_ID = "r" * 300


def kept_chars(runs: Runs) -> int:
    """All that is remembered of a conversation's runs."""
    return len(repr(runs))


def thinking(run_id: str, text: str = "T" * 4000) -> dict[str, Any]:
    row = {
        "role": "assistant",
        "content": [{"type": "thinking", "thinking": text}],
        "__openclaw": {"runId": run_id, "id": LONG_ID * 1000},
    }
    return {"sessionKey": KEY, "message": row}


@pytest.mark.parametrize(
    "flood",
    [
        lambda runs, n: runs.on_chat(delta("x" * 10_000, f"r{n}")),
        lambda runs, n: runs.on_chat(delta("x" * 10_000_000, f"r{n}")),
        lambda runs, n: runs.on_chat(delta("x", f"{LONG_ID}{n}" * 1000)),
        lambda runs, n: runs.on_chat(chat("final", f"{LONG_ID}{n}" * 1000)),
        lambda runs, n: runs.on_row(thinking(f"r{n}")),
        lambda runs, n: runs.on_row(thinking(f"{LONG_ID}{n}" * 1000)),
        lambda runs, n: runs.record_row(thinking(f"r{n}")),
        lambda runs, n: runs.begin(f"{LONG_ID}{n}" * 1000),
    ],
)
def test_what_a_hostile_gateway_makes_the_server_remember_is_bounded(flood: Any) -> None:
    runs = Runs()
    for number in range(400):
        flood(runs, number)
    assert kept_chars(runs) < 200_000
