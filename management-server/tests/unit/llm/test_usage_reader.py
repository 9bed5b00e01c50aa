"""Token counts are read from answers in chunks of any size."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ocmt_management.llm.usage import TokenCounts, UsageReader

OPENAI = (
    b'data: {"choices":[{"delta":{"content":"say \\"usage\\""}}],"usage":null}\n\n'
    b'data: {"choices":[],"usage":{"prompt_tokens":12,"completion_tokens":34}}\n\n'
    b"data: [DONE]\n\n"
)
ANTHROPIC = (
    b'event: message_start\r\ndata: {"type":"message_start","message":{"usage":'
    b'{"input_tokens":10,"cache_read_input_tokens":2,"output_tokens":1}}}\r\n\r\n'
    b'event: message_delta\ndata: {"type":"message_delta","usage":{"output_tokens":34}}\n\n'
)


def read(*chunks: bytes, streamed: bool = True) -> TokenCounts | None:
    reader = UsageReader(streamed=streamed)
    for chunk in chunks:
        reader.feed(chunk)
    return reader.tokens()


@pytest.mark.parametrize("answer", [OPENAI, ANTHROPIC], ids=["openai", "anthropic"])
@given(cuts=st.lists(st.integers(0, 300), max_size=8))
def test_where_the_bytes_are_cut_changes_nothing(answer: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(answer)) for cut in cuts), len(answer)]
    chunks = [answer[a:b] for a, b in pairwise(edges)]

    assert read(*chunks) == TokenCounts(12, 34)


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"prompt_tokens": 5, "completion_tokens": 6}, TokenCounts(5, 6)),
        (
            {"input_tokens": 5, "cache_creation_input_tokens": 2, "output_tokens": 6},
            TokenCounts(7, 6),
        ),
        ({"prompt_tokens": "many", "completion_tokens": -3}, TokenCounts(0, 0)),
        ({"prompt_tokens": 10**30, "completion_tokens": 1}, TokenCounts(10**9, 1)),
    ],
)
def test_whole_answers_are_read_at_their_end(usage: dict[str, Any], tokens: TokenCounts) -> None:
    body = json.dumps({"usage": usage}).encode()

    assert read(body[:9], body[9:], streamed=False) == tokens


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize(
    "answer", [b"", b"data: {}\n\n", b"[1]", b'{"usage":5}', b'data: {"usage":\n\n', b"[" * 5000]
)
def test_an_answer_that_does_not_tell_is_unmeasured(answer: bytes, streamed: bool) -> None:
    assert read(answer, streamed=streamed) is None


def test_an_endless_line_is_not_kept() -> None:
    reader = UsageReader(streamed=True)
    for _ in range(40):
        reader.feed(b"x" * 100_000)

    assert len(reader._rest) <= 1_100_000
    reader.feed(b"\n" + OPENAI)
    assert reader.tokens() == TokenCounts(12, 34)
