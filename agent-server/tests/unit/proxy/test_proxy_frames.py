import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ocmt_agent.proxy import frames
from ocmt_common import gateway_frames


def compact(frame: object) -> str:
    """JSON as the gateway writes it: no spaces, no needless escapes."""
    return json.dumps(frame, separators=(",", ":"), ensure_ascii=False)


@given(st.text(max_size=20), st.booleans())
def test_an_answer_is_recognised_by_its_request_whatever_the_id(request: str, ok: bool) -> None:
    frame = compact({"type": "res", "id": request, "ok": ok, "payload": {"id": "inner"}})

    assert frames.answered_id(frame) == request


@given(st.text(max_size=20), st.permutations(["type", "id", "method"]), st.booleans())
def test_a_request_is_recognised_by_its_id_however_it_is_spelled(
    request: str, order: list[str], spaced: bool
) -> None:
    frame = {"type": "req", "id": request, "method": "chat.send"}
    written = {name: frame[name] for name in order}
    text = json.dumps(written) if spaced else compact(written)

    assert frames.request_id(text) == request


@given(st.text(max_size=60))
def test_no_text_makes_reading_it_fail(text: str) -> None:
    frames.answered_id(text)
    assert frames.request_id(text) is None or text.startswith("{")


@pytest.mark.parametrize(
    "text",
    [
        '{"type":"event","event":"chat","payload":{"type":"res","id":"1"}}',
        '{"type":"res","id":7}',
        '{"type":"res","id":"\\ud83d',
        '{"type":"res","id":"\\x"}',
        "",
    ],
)
def test_what_answers_no_request_answers_no_request(text: str) -> None:
    assert frames.answered_id(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "[]",
        "null",
        '{"type":"event","id":"1"}',
        '{"type":"req","id":1}',
        compact({"type": "req", "id": "x" * (frames.MAX_ID_CHARS + 1)}),
    ],
    ids=["deep", "list", "null", "event", "number", "long"],
)
def test_what_is_no_request_awaits_no_answer(text: str) -> None:
    assert frames.request_id(text) is None


@given(st.text(max_size=20))
def test_a_refusal_is_an_answer_in_the_gateway_s_own_shape(request: str) -> None:
    text = gateway_frames.refusal(request, "Try again.", retry_after_s=5)

    assert frames.answered_id(text) == request
    assert json.loads(text)["error"] == {
        "code": "UNAVAILABLE",
        "message": "Try again.",
        "retryable": True,
        "retryAfterMs": 5000,
    }


def test_our_shutdown_frame_equals_the_gateway_s() -> None:
    assert frames.is_shutdown(frames.shutdown("gateway lost"))
    assert not frames.is_shutdown(gateway_frames.event("chat", {"event": "shutdown"}))


@pytest.mark.parametrize(
    ("begin", "again", "times", "end"),
    [
        ('{"type":"res","id":"', "x", 8_000_000, '"}'),
        ('{"type":"res","id":"', "\\n", 4_000_000, '"}'),
        ('{"type":"req","id":"', "x", 8_000_000, '"}'),
        ('{"type":"req", "a":[', "{},", 2_000_000, "{}]}"),
    ],
    ids=["long id", "long id of escapes", "long id of a request", "many values"],
)
def test_a_frame_of_megabytes_is_read_in_milliseconds(
    begin: str, again: str, times: int, end: str
) -> None:
    text = begin + again * times + end
    started = time.process_time()
    assert frames.answered_id(text) is None
    assert frames.request_id(text) is None
    assert (time.process_time() - started) * 1000 < 100
