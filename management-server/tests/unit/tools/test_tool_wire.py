"""What goes over the wire: events, messages, headers, session ids, results."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ocmt_management.tokens import KeyedHash
from ocmt_management.tools import messages, sse
from ocmt_management.tools.argument_shape import shape_of
from ocmt_management.tools.breaker import PAUSE_S, Breaker
from ocmt_management.tools.connection import Connection
from ocmt_management.tools.extras import Extras
from ocmt_management.tools.models import AccountState
from ocmt_management.tools.result_check import Unusable, check_call_result
from ocmt_management.tools.session_ids import SessionIds
from ocmt_management.tools.trouble import Kind, NotSent, Trouble
from pydantic import SecretStr


def connection(user_id: str = "ada", **changes: object) -> Connection:
    values = {
        "user_id": user_id, "server_id": "s1", "slug": "notes", "name": "Notes", "shared": False,
        "url": "https://x.example/mcp", "package": None, "credential_name": None,
        "credential": None, "account_state": AccountState.OK, "server_version": 1,
        "account_version": 1,
    }  # fmt: skip
    return Connection(**{**values, **changes})  # type: ignore[arg-type]


async def chunked(text: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(text), size):
        yield text[start : start + size]


def read_events(text: bytes, size: int, limit: int = 10_000) -> list[bytes]:
    async def read() -> list[bytes]:
        return [data async for data in sse.events(chunked(text, size), max_bytes=limit)]

    return asyncio.run(read())


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@given(size=st.integers(1, 40))
def test_events_are_read_however_they_arrive(end: bytes, size: int) -> None:
    lines = [
        b": hello",
        b"",
        b"event: message",
        b"id: 1",
        b"data: a",
        b"data:b",
        b"",
        b"data:",
        b"",
    ]
    text = end.join([*lines, b"data: c", b"", b"data: cut off"])

    assert read_events(text, size) == [b"a\nb", b"c"]


def test_events_are_bounded() -> None:
    with pytest.raises(sse.TooMuch):
        read_events(b"data: " + b"x" * 200, 10, limit=100)


def test_a_message_is_one_event_even_with_line_breaks_between_its_values() -> None:
    written = sse.event(b'{"a":\n1,\r\n"b":2}')

    assert read_events(written, 7) == [b'{"a": 1,  "b":2}']


@given(st.text(max_size=50))
def test_header_values_survive_the_way(text: str) -> None:
    written = messages.header_value(text)

    assert written.isascii()
    assert "\n" not in written
    if text.encode(errors="replace").decode() == text:
        assert messages.from_header(written) == text


def test_a_message_is_passed_on_as_it_was_read() -> None:
    twice = messages.read_message(
        b'{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call","params":{"a":1}}'
    )

    assert twice.method == "tools/call"
    assert twice.written().count(b'"method"') == 1
    assert messages.read_message(twice.written()) == twice


def test_members_are_added_in_front() -> None:
    assert messages.with_members(b" { } ", a=b"1").strip() == b'{"a":1} '.strip()
    assert messages.with_members(b'{"b":2}', a=b"1") == b'{"a":1,"b":2}'
    assert messages.with_members(b'{"b":2}') == b'{"b":2}'


def test_a_session_id_is_for_its_connection_only() -> None:
    ids = SessionIds(KeyedHash(SecretStr("secret")))
    wrapped = ids.wrapped(connection(), "abc-123")
    assert wrapped is not None

    assert ids.unwrapped(connection(), wrapped) == "abc-123"
    for other in (
        connection("bob"),
        connection(server_id="s2"),
        connection(account_version=2),
        connection(server_version=2),
    ):
        assert ids.unwrapped(other, wrapped) is None
    assert SessionIds(KeyedHash(SecretStr("x"))).unwrapped(connection(), wrapped) is None
    assert ids.wrapped(connection(), "a b") is None
    assert ids.wrapped(connection(), "x" * 2000) is None


@given(st.text(max_size=60))
def test_made_up_session_ids_are_unknown(text: str) -> None:
    assert SessionIds(KeyedHash(SecretStr("secret"))).unwrapped(connection(), text) is None


def test_a_shape_has_no_values_and_no_names_that_the_agent_made_up() -> None:
    definition = (
        b'{"inputSchema":{"properties":{"text":{},"n":{},"on":{},"list":{},"o":{},"z":{}}}}'
    )
    arguments = b'{"text":"secret","n":12,"on":true,"list":[1],"o":{},"z":null,"secret-name":1}'

    shape = shape_of(arguments, definition)

    assert shape == (
        "text: text 8, n: number, on: true/false, list: list 3, o: object 2, z: null, 1 more"
    )
    assert shape_of(b"[]", definition) == "not an object"


def test_a_breaker_pauses_after_three_troubles_and_lets_one_try_again() -> None:
    now = [0.0]
    breaker = Breaker(lambda: now[0])
    slow, refused = Trouble(Kind.SLOW, "slow"), Trouble(Kind.REFUSED, "refused")
    breaker.failed("a", slow)
    breaker.failed("a", Trouble(Kind.LIMIT, "not counted"))
    breaker.failed("a", slow)
    breaker.check("a", "A")
    breaker.failed("a", slow)
    with pytest.raises(Trouble, match=r"not called for 30 s more.*slow"):
        breaker.check("a", "A")
    breaker.check("b", "B")
    now[0] = PAUSE_S
    breaker.check("a", "A")
    breaker.admit("a", "A")
    with pytest.raises(NotSent):
        breaker.admit("a", "A")
    breaker.served("a")
    breaker.check("a", "A")
    breaker.failed("a", refused)
    with pytest.raises(Trouble, match="refused"):
        breaker.check("a", "A")


@pytest.mark.parametrize(
    "wrong",
    [b"", b"{", b"[]", b'"x"', b"{}", b'{"content":{}}', b'{"content":[1]}', b'{"content":[{}]}'],
)
def test_results_of_another_shape_are_unusable(wrong: bytes) -> None:
    with pytest.raises(Unusable):
        asyncio.run(check_call_result(wrong))


def test_results_of_any_size_within_the_bounds_are_fine() -> None:
    large = b'{"content":[{"type":"text","text":"' + b"a,[" * 100_000 + b'"}]}'

    assert asyncio.run(check_call_result(large))["content"][0]["type"] == "text"


def test_hostile_templates_take_no_time_and_claim_nothing_of_others() -> None:
    greedy = connection(
        extras=b'{"resourceTemplates":[{"uriTemplate":"{x}"},{"uriTemplate":"a%b"}]}'.replace(
            b"%", b"{x}" * 5000
        )
    )
    other = connection(server_id="s2", slug="other", extras=b'{"resources":[{"uri":"note://1"}]}')
    extras = Extras([greedy, other])

    assert extras.server_of_uri("note://1") is other
    assert extras.server_of_uri("note://2") is None
    assert extras.server_of_uri("a" + "b" * 100_000) is greedy
