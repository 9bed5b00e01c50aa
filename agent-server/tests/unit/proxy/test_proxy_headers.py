import pytest
from hypothesis import given
from hypothesis import strategies as st
from ocmt_agent.proxy.headers import to_caller, with_our_bearer

NAMES = st.sampled_from(
    [b"Connection", b"cookie", b"X-Forwarded-Anything", b"AUTHORIZATION", b"x-a", b"x-b", b"TE"]
)
VALUES = st.sampled_from([b"x-a", b"X-B, close", b"Authorization", b"", b"1"])


@given(st.lists(st.tuples(NAMES, VALUES), max_size=8))
def test_there_is_always_exactly_one_credential_and_it_is_ours(
    headers: list[tuple[bytes, bytes]],
) -> None:
    sent = with_our_bearer(headers, "ours")

    assert [value for name, value in sent if name == "authorization"] == ["Bearer ours"]
    assert {name for name, _ in sent} <= {"authorization", "x-a", "x-b"}


def test_headers_that_connection_names_end_here() -> None:
    sent = with_our_bearer([(b"x-a", b"1"), (b"connection", b"close, X-A"), (b"x-b", b"2")], "t")

    assert sent == [("x-b", "2"), ("authorization", "Bearer t")]


def test_repeated_headers_stay_repeated() -> None:
    sent = with_our_bearer([(b"x-a", b"1"), (b"X-A", b"2")], "t")

    assert sent[:2] == [("x-a", "1"), ("x-a", "2")]


@pytest.mark.parametrize("value", [b"caf\xc3\xa9", b"caf\xe9"], ids=["utf-8", "latin-1"])
def test_a_value_beyond_ascii_reads_the_same(value: bytes) -> None:
    assert with_our_bearer([(b"x-a", value)], "t")[0] == ("x-a", "café")


@pytest.mark.parametrize(("status", "kept"), [(200, True), (204, False), (304, False)])
def test_only_an_answer_with_a_body_says_how_long_it_is(status: int, kept: bool) -> None:
    assert bool(to_caller([(b"Content-Length", b"9")], status=status)) is kept


def test_an_answerer_sets_no_cookie_and_names_no_server() -> None:
    headers = [(b"Set-Cookie", b"a=1"), (b"Server", b"x"), (b"Date", b"x"), (b"ETag", b"y")]

    assert to_caller(headers, status=200) == [(b"etag", b"y")]
