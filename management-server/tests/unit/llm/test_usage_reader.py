"""Token counts, ends and errors are read from answers in chunks of any size."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ocmt_management.llm.event_stream import EventStreamReader, WholeReader, reader_of
from ocmt_management.llm.usage import TokenCounts, UsageReader, estimated_counts

OPENAI = (
    b'data: {"choices":[{"delta":{"content":"say \\"usage\\""}}],"usage":null}\n\n'
    b'data: {"choices":[],"usage":{"prompt_tokens":12,"completion_tokens":34}}\n\n'
    b"data: [DONE]\n\n"
)
ANTHROPIC = (
    b'event: message_start\r\ndata: {"type":"message_start","message":{"usage":'
    b'{"input_tokens":10,"cache_read_input_tokens":2,"output_tokens":1}}}\r\n\r\n'
    b'event: message_delta\ndata: {"type":"message_delta","usage":{"output_tokens":34}}\n\n'
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
)
RESPONSES = (
    b'event: response.created\ndata: {"type":"response.created","response":{"error":null}}\n\n'
    b'event: response.completed\ndata: {"type":"response.completed","response":{"error":null,'
    b'"usage":{"input_tokens":12,"output_tokens":34}}}\n\n'
)
LONE_CR = OPENAI.replace(b"\n", b"\r")
WITH_BOM = b"\xef\xbb\xbf" + OPENAI
STREAMS = {
    "openai": OPENAI, "anthropic": ANTHROPIC, "responses": RESPONSES, "lone CR": LONE_CR,
    "BOM": WITH_BOM, "CRLF": OPENAI.replace(b"\n", b"\r\n"),
}  # fmt: skip
CACHED = {"anthropic": 2}


def through(reader: EventStreamReader, *chunks: bytes) -> bytes:
    return b"".join([*(reader.feed(chunk) for chunk in chunks), reader.end()])


def cut_at(answer: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(cut, len(answer)) for cut in cuts), len(answer)]
    return [answer[a:b] for a, b in pairwise(edges)]


@pytest.mark.parametrize("name", STREAMS)
@given(cuts=st.lists(st.integers(0, 300), max_size=8))
def test_where_the_bytes_are_cut_changes_nothing(name: str, cuts: list[int]) -> None:
    reader = EventStreamReader()
    passed = through(reader, *cut_at(STREAMS[name], cuts))

    assert passed == STREAMS[name].removeprefix(b"\xef\xbb\xbf")
    assert reader.tokens() == TokenCounts(12, 34, cached=CACHED.get(name, 0))
    assert reader.complete
    assert not reader.failed()


@pytest.mark.parametrize("name", STREAMS)
def test_each_byte_alone_is_understood(name: str) -> None:
    reader = EventStreamReader()
    passed = through(reader, *(bytes([byte]) for byte in STREAMS[name]))

    assert passed == STREAMS[name].removeprefix(b"\xef\xbb\xbf")
    assert reader.tokens() == TokenCounts(12, 34, cached=CACHED.get(name, 0))


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@given(cuts=st.lists(st.integers(0, 200), max_size=5))
def test_nothing_of_an_error_in_a_stream_is_passed_on(end: bytes, cuts: list[int]) -> None:
    good = b'data: {"choices":[{"delta":{"content":"Hi"}}]}' + end + end
    bad = b'data: {"error":{"code":402,"message":"Insufficient credits"}}' + end + end
    reader = EventStreamReader()
    passed = b""
    for chunk in cut_at(good + bad, cuts):
        passed += reader.feed(chunk)
        if reader.failed():
            break
    else:
        passed += reader.end()

    assert passed == good
    assert reader.error is not None
    assert reader.error.status == 402
    assert reader.estimate() == 1


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    "last",
    ['data: {"choices":[{"finish_reason":"length"}]}', "data: [DONE]",
     'data: {"type":"message_stop"}', 'data: {"type":"response.incomplete"}'],
)  # fmt: skip
def test_a_stream_without_usage_is_complete_by_its_last_event(last: str, end: str) -> None:
    reader = EventStreamReader()
    through(reader, *(bytes([byte]) for byte in f"data: {{}}{end}{end}{last}{end}{end}".encode()))

    assert reader.complete
    assert reader.tokens() is None


def test_a_stream_that_ends_too_early_is_not_complete() -> None:
    for cut in (0, 30, OPENAI.index(b"data: {", 10)):
        reader = EventStreamReader()
        through(reader, OPENAI[:cut])

        assert not reader.complete, cut


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"prompt_tokens": 5, "completion_tokens": 6}, TokenCounts(5, 6)),
        ({"prompt_tokens": 12.0, "completion_tokens": 3.0}, TokenCounts(12, 3)),
        ({"prompt_tokens": "12", "completion_tokens": 3}, TokenCounts(12, 3)),
        (
            {"input_tokens": 5, "cache_creation_input_tokens": 2, "output_tokens": 6},
            TokenCounts(7, 6, cache_written=2),
        ),
        (
            {
                "prompt_tokens": 50, "completion_tokens": 60,
                "prompt_tokens_details": {"cached_tokens": 40},
                "completion_tokens_details": {"reasoning_tokens": 20},
            },
            TokenCounts(50, 60, cached=40, reasoning=20),
        ),
        (
            {
                "input_tokens": 50, "output_tokens": 60,
                "input_tokens_details": {"cached_tokens": 40},
                "output_tokens_details": {"reasoning_tokens": 20},
            },
            TokenCounts(50, 60, cached=40, reasoning=20),
        ),
        ({"prompt_tokens": 5, "completion_tokens": 1, "prompt_cache_hit_tokens": 4},
         TokenCounts(5, 1, cached=4)),
        ({"prompt_tokens": 5, "completion_tokens": 6, "prompt_tokens_details": {
            "cached_tokens": 900}}, TokenCounts(5, 6, cached=5)),
        ({"prompt_tokens": "many", "completion_tokens": -3}, None),
        ({"prompt_tokens": 10**30, "completion_tokens": 1}, TokenCounts(0, 1)),
        ({"prompt_tokens": True, "completion_tokens": None}, None),
        ({"prompt_tokens": [5]}, None),
    ],
)  # fmt: skip
def test_the_counts_of_any_shape_are_read_and_absurd_ones_are_not(
    usage: dict[str, Any], tokens: TokenCounts | None
) -> None:
    body = json.dumps({"usage": usage}).encode()
    reader = WholeReader()
    passed = reader.feed(body[:9]) + reader.feed(body[9:]) + reader.end()

    assert passed == body
    assert reader.tokens() == tokens


@pytest.mark.parametrize(
    "holder",
    [
        '{{"choices":[{{"delta":{{}},"usage":{}}}]}}',
        '{{"choices":[],"x_groq":{{"id":"1","usage":{}}}}}',
        '{{"choices":[],"usage":{}}}',
        '{{"type":"response.completed","response":{{"usage":{}}}}}',
    ],
)
def test_counts_are_found_wherever_a_server_puts_them(holder: str) -> None:
    reader = UsageReader()
    reader.take(holder.format('{"prompt_tokens":12,"completion_tokens":3}').encode())

    assert reader.tokens() == TokenCounts(12, 3)


@pytest.mark.parametrize(
    "answer", [b"", b"data: {}\n\n", b"[1]", b'{"usage":5}', b'data: {"usage":\n\n', b"[" * 5000]
)
def test_an_answer_that_does_not_tell_is_unmeasured(answer: bytes) -> None:
    stream, whole = EventStreamReader(), WholeReader()
    through(stream, answer)
    whole.feed(answer)
    whole.end()

    assert stream.tokens() is None
    assert whole.tokens() is None


def test_an_endless_line_is_not_kept() -> None:
    reader = EventStreamReader()
    passed = b"".join(reader.feed(b"x" * 100_000) for _ in range(40))

    assert len(reader._held) <= 1_100_000
    assert len(passed) > 2_000_000
    reader.feed(b"\n" + OPENAI)
    assert reader.tokens() == TokenCounts(12, 34)


@pytest.mark.parametrize(
    ("media_type", "head", "kind"),
    [
        ("text/event-stream", b"", EventStreamReader),
        ("", b"data: {}", EventStreamReader),
        ("text/plain", b": PROCESSING", EventStreamReader),
        ("application/json", b"\xef\xbb\xbfevent: x", EventStreamReader),
        ("application/json", b' {"id":1}', WholeReader),
        ("", b"[]", WholeReader),
        ("text/html", b"<html>", type(None)),
        ("", b"\x1f\x8b\x08", type(None)),
        ("", b"", type(None)),
    ],
)
def test_an_answer_is_what_it_begins_like(media_type: str, head: bytes, kind: type) -> None:
    assert type(reader_of(media_type, head)) is kind


def test_a_cut_answer_is_counted_by_what_is_known_of_it() -> None:
    request = b"x" * 400

    assert estimated_counts(request) == TokenCounts(100, 0)
    assert estimated_counts(request, written=7) == TokenCounts(100, 7)
    assert estimated_counts(request, TokenCounts(90, 1), written=7) == TokenCounts(90, 7)
    assert estimated_counts(b"x" * 30_000_000).read == 200_000
