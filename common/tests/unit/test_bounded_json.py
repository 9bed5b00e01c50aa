"""JSON from tenants and peers: what is read, what is refused, and how long that takes."""

import contextlib
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ocmt_common.bounded_json import (
    MOST_MEMBERS,
    MOST_VALUES,
    NotJson,
    TooComplex,
    members,
    read,
    write,
)

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(VALUES, st.booleans())
def test_what_json_writes_is_read(value: object, ascii_only: bool) -> None:
    written = json.dumps(value, ensure_ascii=ascii_only)
    assert read(written) == read(written.encode()) == value


@given(st.dictionaries(st.text(), VALUES))
def test_members_are_written_again_as_they_were(value: dict[str, Any]) -> None:
    found = members(json.dumps(value, indent=1))
    assert {name: read(raw) for name, raw in found.items()} == value
    assert json.loads(write({**found, "and": 1})) == {**value, "and": 1}


@given(st.binary(max_size=60))
def test_no_bytes_make_reading_them_fail_otherwise(data: bytes) -> None:
    for reading in (read, members):
        with contextlib.suppress(NotJson):
            reading(data)


def cpu_ms(text: bytes, reading: Any) -> float:
    """The shortest of three, since other processes share the machine."""
    took: list[float] = []
    for _ in range(3):
        started = time.process_time()
        with contextlib.suppress(NotJson):
            reading(text)
        took.append((time.process_time() - started) * 1000)
    return min(took)


MIB = 1024 * 1024
# Made when they are used: each is of some MiB.
DENSE: dict[str, Callable[[], bytes]] = {
    "objects": lambda: b'{"messages":[' + b"{}," * (8 * MIB // 3) + b"{}]}",
    "lists": lambda: b'{"messages":[' + b"[]," * (8 * MIB // 3) + b"1]}",
    "numbers": lambda: b'{"messages":[' + b"1," * (4 * MIB) + b"1]}",
    "floats": lambda: b'{"messages":[' + b"1.5e5," * (8 * MIB // 6) + b"1]}",
    "a long number": lambda: b'{"messages":' + b"1" * (8 * MIB) + b"}",
    "strings": lambda: b'{"messages":[' + b'"",' * (8 * MIB // 3) + b"1]}",
    "one name again": lambda: b'{"messages":[' + b'{"a":1},' * MIB + b"1]}",
    "many names": lambda: b"{" + b",".join(b'"%d":1' % n for n in range(700_000)) + b"}",
    "depth": lambda: b'{"messages":' + b"[" * (8 * MIB) + b"}",
    "half characters": lambda: b'{"messages":"' + b"\\ud83d" * (8 * MIB // 6) + b'"}',
    "escapes": lambda: b'{"messages":"' + b"\\u00e9" * (8 * MIB // 6) + b'"}',
    "backslashes": lambda: b'{"messages":"' + b"\\\\" * (4 * MIB) + b'\\ud83d"}',
}


@pytest.mark.parametrize("kind", DENSE)
def test_8_mib_of_anything_take_milliseconds(kind: str) -> None:
    text = DENSE[kind]()
    allowed_ms = 200.0  # on a slow, busy machine; a parse into objects takes thousands
    assert cpu_ms(text, members) < allowed_ms
    assert cpu_ms(text, read) < allowed_ms


@pytest.mark.parametrize("kind", ["objects", "lists", "numbers", "floats", "strings", "many names"])
def test_more_values_than_are_read_are_refused(kind: str) -> None:
    with pytest.raises(TooComplex):
        read(DENSE[kind]())


def test_texts_weigh_nothing_but_their_bytes() -> None:
    picture = "data:image/png;base64," + "iVBORw0KGgo+/" * 1_000_000
    assert read(json.dumps({"content": [picture]})) == {"content": [picture]}


def test_members_are_bounded_and_their_values_are_not_looked_at() -> None:
    assert len(members(json.dumps(dict.fromkeys(map(str, range(MOST_MEMBERS)), 1)))) == MOST_MEMBERS
    with pytest.raises(TooComplex):
        members(json.dumps(dict.fromkeys(map(str, range(MOST_MEMBERS + 1)), 1)))
    many = json.dumps({"messages": [1] * (MOST_VALUES + 1)})
    raw = members(many)["messages"]
    with pytest.raises(TooComplex):
        read(raw)


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (r'"\ud83d"', "\ufffd"),
        (r'"a\uDE00b"', "a\ufffdb"),
        (r'"\ud83d\ude00"', "\U0001f600"),
        (r'"\ud83d\ude00\ud83d"', "\U0001f600\ufffd"),
        (r'"\ud83d\n"', "\ufffd\n"),
        (r'"\\ud83d \ud83d"', "\\ud83d \ufffd"),
        (r'"\\\ud83d"', "\\\ufffd"),
    ],
)
def test_half_a_character_becomes_the_sign_for_it(written: str, text: str) -> None:
    assert read(written) == text
    assert read(members(f'{{"a":{written}}}')["a"]) == text


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"\xff", b"NaN", b'{"a":1}x', b"[1,]", b'"\\x"', b"\xef\xbb\xbf{}", b"1" * 5000],
    ids=repr,
)
def test_what_is_no_json_is_refused(text: bytes) -> None:
    with pytest.raises(NotJson):
        read(text)


@pytest.mark.parametrize("text", ["[]", "null", '"a"', "5", '{"a"}', '{"a":}', ""])
def test_what_is_no_object_has_no_members(text: str) -> None:
    with pytest.raises(NotJson):
        members(text)
