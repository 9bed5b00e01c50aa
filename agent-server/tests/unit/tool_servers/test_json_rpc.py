"""Messages between callers and tool servers: ids are rewritten, all else is copied."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ocmt_agent.tool_servers.json_rpc import (
    Answer,
    Request,
    answer,
    cancelled_line,
    number_in,
    read_incoming,
    read_line,
    reply_line,
    request_line,
)

VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
IDS = st.integers(-(10**17), 10**17) | st.from_regex(r"[ -!#-\[\]-~]{0,50}", fullmatch=True)


@given(
    call_id=IDS,
    params=st.none() | st.dictionaries(st.text(), VALUES, max_size=4),
    result=VALUES,
    indent=st.none() | st.integers(0, 4),
)
def test_a_call_and_its_answer_keep_everything_but_the_id(
    call_id: int | str, params: Any, result: Any, indent: int | None
) -> None:
    message = {"jsonrpc": "2.0", "id": call_id, "method": "tools/call"}
    if params is not None:
        message["params"] = params
    incoming = read_incoming(json.dumps(message, indent=indent).encode())
    assert incoming.call_id is not None

    line = request_line(7, incoming.method, incoming.params)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert json.loads(line) == message | {"id": 7}

    outcome = read_line(json.dumps({"result": result, "jsonrpc": "2.0", "id": 7}).encode())
    assert isinstance(outcome, Answer)
    assert outcome.number == 7
    assert json.loads(answer(incoming.call_id, outcome.outcome)) == {
        "jsonrpc": "2.0",
        "id": call_id,
        "result": result,
    }


@given(st.binary(max_size=200) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_no_line_of_a_server_raises(line: bytes) -> None:
    read_line(line)


@pytest.mark.parametrize(
    "line",
    [
        b'{"id":0,"result":1}',
        b'{"id":-1,"result":1}',
        b'{"id":1.0,"result":1}',
        b'{"id":"1","result":1}',
        b'{"id":99999999999999999999,"result":1}',
        b'{"id":[1],"result":1}',
        b'{"result":1}',
        b'{"id":1}',
        b'{"method":"notifications/progress"}',
        b'{"id":{},"method":"ping"}',
        b'{"id":1,"method":1}',
        b'{"id":1,"method":"' + b"x" * 5000 + b'"}',
        b"{" + b",".join(b'"%d":1' % number for number in range(5000)) + b"}",
        b"[" * 1_000_000,
    ],
)
def test_what_is_neither_an_answer_nor_a_request(line: bytes) -> None:
    assert read_line(line) is None


def test_a_request_of_the_server_is_answered_under_its_own_id() -> None:
    request = read_line(b'{"jsonrpc":"2.0","id":"a-1","method":"roots/list"}')
    assert request == Request(b'"a-1"', "roots/list")
    assert isinstance(request, Request)
    reply = json.loads(reply_line(request))
    assert (reply["id"], reply["error"]["code"]) == ("a-1", -32601)
    ping = Request(b"5", "ping")
    assert json.loads(reply_line(ping)) == {"jsonrpc": "2.0", "id": 5, "result": {}}


@pytest.mark.parametrize(
    ("piece", "number"),
    [
        (b'xxx"},"jsonrpc":"2.0","id":42}', 42),
        (b'{"jsonrpc":"2.0","id": 42 ,"result":{"a', 42),
        (b'{"jsonrpc":"2.0","result":{"a', None),
        (b'"id":"42"}', None),
        (b'"id":420000000000000000000}', None),
    ],
)
def test_the_id_of_an_answer_too_long_to_read(piece: bytes, number: int | None) -> None:
    assert number_in(piece) == number


def test_a_cancelled_call_is_told_by_its_number() -> None:
    assert json.loads(cancelled_line(3))["params"] == {"requestId": 3}
