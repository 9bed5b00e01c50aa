"""Which frames of a gateway end the answer to a message of the caller's."""

import json

import pytest
from ocmt_agent.proxy.runs import Runs


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
def runs() -> Runs:
    """With one run under way, r1."""
    runs = Runs()
    runs.sent("1", request("chat.send"))
    assert not runs.ended_with(answer("r1"), answers="1")
    return runs


@pytest.mark.parametrize("state", ["final", "aborted", "error"])
def test_the_end_of_the_answer_ends_the_run_once(runs: Runs, state: str) -> None:
    assert runs.ended_with(event("r1", state), answers=None)
    assert not runs.ended_with(event("r1", state), answers=None)


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
def test_other_frames_do_not(runs: Runs, other: str) -> None:
    assert not runs.ended_with(other, answers=None)
    assert runs.ended_with(event("r1", "final"), answers=None)


@pytest.mark.parametrize("method", ["chat.history", "chat.abort", "sessions.messages.subscribe"])
def test_a_request_that_is_no_message_begins_no_turn(method: str) -> None:
    runs = Runs()
    runs.sent("1", request(method))
    assert not runs.ended_with(answer("r1"), answers="1")
    assert not runs.ended_with(event("r1", "final"), answers=None)


def test_a_refused_message_and_a_lost_gateway_leave_no_turn(runs: Runs) -> None:
    runs.sent("2", request("chat.send", "2"))
    refused = frame(type="res", id="2", ok=False, error={"code": "UNAVAILABLE"})
    assert not runs.ended_with(refused, answers="2")
    runs.clear()
    assert not runs.ended_with(event("r1", "final"), answers=None)


def test_no_caller_makes_it_remember_without_end() -> None:
    runs = Runs()
    for number in range(5000):
        runs.sent(str(number), request("chat.send", str(number)))
    assert len(runs._requests) == 1000
