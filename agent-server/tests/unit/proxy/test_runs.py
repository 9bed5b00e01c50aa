"""Which frames of a gateway end the answer to a message of the caller's."""

import json

import pytest
from ocmt_agent.proxy.turns import Turns


def request(method: str, number: str = "1") -> str:
    return json.dumps({"type": "req", "id": number, "method": method, "params": {"message": "hi"}})


def frame(**values: object) -> str:
    return json.dumps(values, separators=(",", ":"))


def answer(run: str, number: str = "1") -> str:
    return frame(type="res", id=number, ok=True, payload={"runId": run, "status": "started"})


def event(run: str, state: str, name: str = "chat", **more: object) -> str:
    payload = {"runId": run, "sessionKey": "agent:main:main", "seq": 4, "state": state, **more}
    return frame(type="event", event=name, payload=payload)


@pytest.fixture
def turns() -> Turns:
    """With one turn under way, the run r1."""
    turns = Turns()
    turns.sent("1", request("chat.send"))
    assert not turns.ended_with(answer("r1"), answers="1")
    return turns


@pytest.mark.parametrize("state", ["final", "aborted", "error"])
def test_the_end_of_the_answer_ends_the_turn_once(turns: Turns, state: str) -> None:
    assert turns.ended_with(event("r1", state), answers=None)
    assert not turns.ended_with(event("r1", state), answers=None)


@pytest.mark.parametrize(
    "other",
    [
        event("r1", "delta", message={"text": '{"state":"final"}'}),
        event("r1", "status"),
        event("r2", "final"),  # a job's, or another tab's
        event("r1", "final", name="agent"),
        frame(type="event", event="chat", payload={}),
        "no json",
        "",
    ],
)
def test_other_frames_do_not(turns: Turns, other: str) -> None:
    assert not turns.ended_with(other, answers=None)
    assert turns.ended_with(event("r1", "final"), answers=None)


@pytest.mark.parametrize("method", ["chat.history", "chat.abort", "sessions.messages.subscribe"])
def test_a_request_that_is_no_message_begins_no_turn(method: str) -> None:
    turns = Turns()
    turns.sent("1", request(method))
    assert not turns.ended_with(answer("r1"), answers="1")
    assert not turns.ended_with(event("r1", "final"), answers=None)


def test_a_refused_message_and_a_lost_gateway_leave_no_turn(turns: Turns) -> None:
    turns.sent("2", request("chat.send", "2"))
    refused = frame(type="res", id="2", ok=False, error={"code": "UNAVAILABLE"})
    assert not turns.ended_with(refused, answers="2")
    turns.clear()
    assert not turns.ended_with(event("r1", "final"), answers=None)


def test_no_caller_makes_it_remember_without_end() -> None:
    turns = Turns()
    for number in range(5000):
        turns.sent(str(number), request("chat.send", str(number)))
    assert len(turns._requests) == 1000
