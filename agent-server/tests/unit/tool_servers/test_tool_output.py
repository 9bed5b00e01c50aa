"""Output of a tool server, cut into any pieces: bounded, and without its credential."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ocmt_agent.tool_servers.output import Allowance, LastOutput, LineReader, TooLong

MOST = 20


def fed(data: bytes, cuts: list[int]) -> list[bytes | TooLong]:
    reader, found, start = LineReader(MOST), [], 0
    for cut in (*sorted(cut % (len(data) + 1) for cut in cuts), len(data)):
        found += reader.feed(data[start:cut])
        start = max(start, cut)
    assert len(reader.rest()) <= MOST
    return found


@given(
    lines=st.lists(st.binary(max_size=60).map(lambda line: line.replace(b"\n", b""))),
    cuts=st.lists(st.integers(min_value=0)),
)
def test_lines_are_the_same_however_they_come(lines: list[bytes], cuts: list[int]) -> None:
    found = fed(b"".join(line + b"\n" for line in lines), cuts)
    assert len(found) == len(lines)
    for line, one in zip(lines, found, strict=True):
        if isinstance(one, TooLong):
            assert len(line) > MOST
            assert (one.size, one.head, one.tail) == (len(line), line[: len(one.head)], line[-512:])
            assert one.head
        else:
            assert len(line) <= MOST
            assert one == line.removesuffix(b"\r")


def test_a_line_without_an_end_takes_no_more_memory() -> None:
    reader = LineReader(MOST)
    for _ in range(1000):
        assert reader.feed(b"x" * 1000) == []
        assert len(reader.rest()) <= MOST
    (line,) = reader.feed(b'"id":7}\n')
    assert isinstance(line, TooLong)
    assert (line.size, line.tail[-7:]) == (1_000_007, b'"id":7}')


def test_an_allowance_is_regained_in_time_and_never_more_than_that() -> None:
    allowance = Allowance(100, 10, now_s=0)
    assert allowance.take(100, now_s=0) == 0
    assert allowance.take(20, now_s=0) == 2
    assert allowance.take(0, now_s=1) == 1
    assert allowance.take(0, now_s=1000) == 0
    assert allowance.take(101, now_s=1000) == pytest.approx(0.1)
    allowance.give_back(10_000)
    assert allowance.take(101, now_s=1000) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (b"the key is secret-1\nnext\n", ["the key is •••", "next"]),
        (b"secret-1secret-1", ["••••••"]),
        (b"secret-1-longer\n", ["•••"]),
        (b"line one\nof a key\n", ["•••", "•••"]),
        (b"\x1b]0;title\x07\xff\xe2\x80\xae\n\n  \nx\n", ["]0;title �", "x"]),
        (b"no end", ["no end"]),
        (b"y" * 10_000 + b"secret-1\n", ["(a line of 10008 bytes)"]),
        (b"z" * 1000 + b"\n", ["z" * 400]),
        (b"abc\n", ["abc"]),
    ],
)
def test_what_is_kept_of_standard_error(written: bytes, shown: list[str]) -> None:
    secrets = ["secret-1", "secret-1-longer", "line one\nof a key\n", "abc", ""]
    for size in (1, 3, len(written)):
        kept = LastOutput(secrets)
        for start in range(0, len(written), size):
            kept.feed(written[start : start + size])
        assert kept.lines() == shown


def test_the_last_twenty_lines_are_kept() -> None:
    kept = LastOutput([])
    kept.feed(b"".join(b"%d\n" % number for number in range(100)) + b"rest")
    assert kept.lines() == [*(str(number) for number in range(81, 100)), "rest"]
