"""Results for agents, and what of a server's result reaches a conversation."""

import json
from typing import Any

import pytest
from ocmt_management.tools.approval_results import (
    MAX_STORED_BYTES,
    ended,
    is_error,
    mark_of,
    storable,
    text_of,
    text_result,
    waits,
)
from ocmt_management.tools.approval_states import OPEN, ApprovalState
from ocmt_management.tools.message_delivery import Place, has_mark, place_of


@pytest.mark.parametrize(
    ("result", "error"),
    [
        (b'{"content":[]}', False),
        (b'{"content":[],"isError":false}', False),
        (b'{"content":[],"isError":true}', True),
        (b"[]", True),
        (b"<html>", True),
        (b"", True),
    ],
)
def test_a_result_that_cannot_be_read_is_an_error(result: bytes, error: bool) -> None:
    assert is_error(result) is error


def test_a_result_too_large_to_keep_is_replaced_and_stays_an_error_or_none() -> None:
    for error in (False, True):
        large = text_result("x" * MAX_STORED_BYTES, error=error)

        kept = storable(large)

        assert len(kept) < 1000
        assert is_error(kept) is error
        assert "too large" in text_of(kept)


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (b'{"content":[{"type":"text","text":"a"},{"type":"image"},{"type":"text","text":"b"}]}',
         "a\n(image)\nb"),
        (b'{"content":"x"}', ""),
        (b'{"content":[1,null,{"type":"text","text":5}]}', "(None)\n(None)\n(text)"),
        (b"nonsense", "(a result that cannot be read)"),
        (b"[" * 9000, "(a result that cannot be read)"),
    ],
)  # fmt: skip
def test_the_text_of_any_result_is_text(result: bytes, text: str) -> None:
    assert text_of(result) == text


def test_a_long_text_is_cut() -> None:
    assert len(text_of(text_result("x" * 100_000))) < 4100


@pytest.mark.parametrize("state", sorted(set(ApprovalState) - OPEN))
def test_every_end_is_a_result_that_says_what_became_of_the_call(state: ApprovalState) -> None:
    result = json.loads(ended(state, 12, None, b'{"content":[]}'))

    ran = state in (ApprovalState.DONE, ApprovalState.FAILED)
    assert result == {"content": []} if ran else "number 12" in result["content"][0]["text"]


def test_a_message_is_found_in_the_transcript_or_in_the_queue() -> None:
    said = {"messages": [{"role": "user", "idempotencyKey": "k:user"}]}
    queued = {"pendingInputs": {"items": [{"runId": "k", "state": "queued"}]}}
    interrupted = {"pendingInputs": {"items": [{"runId": "k", "state": "interrupted"}]}}
    cancelled = {"pendingInputs": {"items": [{"runId": "k", "state": "cancelled"}]}}

    assert place_of(said, "k") is Place.TRANSCRIPT
    assert place_of({**interrupted, **said}, "k") is Place.TRANSCRIPT
    assert place_of(queued, "k") is Place.QUEUE
    assert place_of(interrupted, "k") is Place.NOWHERE
    assert place_of(cancelled, "k") is Place.NOWHERE


@pytest.mark.parametrize(
    "garbled", [{}, {"messages": 5}, {"messages": [1, None]}, {"pendingInputs": []}]
)
def test_a_garbled_history_has_no_message(garbled: dict[str, Any]) -> None:
    assert place_of(garbled, "k") is Place.NOWHERE


def transcript(*texts: str, role: str = "toolResult") -> dict[str, Any]:
    rows = [{"role": role, "content": [{"type": "text", "text": text}]} for text in texts]
    return {"messages": rows}


def test_a_call_is_found_in_the_conversation_in_which_it_waited() -> None:
    said = text_of(waits(12, "https://ocmt/tools?decision=12"))

    assert has_mark(transcript("before", said), mark_of(12))
    assert has_mark(transcript("wrapped: " + said), mark_of(12))
    assert not has_mark(transcript(said), mark_of(1))
    assert not has_mark(transcript(said), mark_of(2))
    assert not has_mark(transcript(said, role="user"), mark_of(12))
    assert not has_mark(transcript(said, role="assistant"), mark_of(12))


@pytest.mark.parametrize(
    "broken", [{}, {"messages": 7}, {"messages": [7, {"role": "toolResult", "content": "x"}]}]
)
def test_no_call_is_found_in_a_broken_transcript(broken: dict[str, Any]) -> None:
    assert not has_mark(broken, mark_of(1))
