"""Ranges of addresses compared with a plain model: sets of pages."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from ocmt_agent.memory.ranges import PAGE, Range, mapped, merged, size_of, without
from ocmt_agent.memory.syscalls import batches

RANGES = st.lists(
    st.builds(
        lambda start, pages: Range(start * PAGE, (start + pages) * PAGE),
        st.integers(0, 60),
        st.integers(1, 8),
    ),
    max_size=12,
)


def pages(ranges: list[Range]) -> set[int]:
    return {page for one in ranges for page in range(one.start // PAGE, one.end // PAGE)}


@given(RANGES)
def test_merged_ranges_are_the_same_pages_each_once(ranges: list[Range]) -> None:
    joined = merged(ranges)
    assert pages(joined) == pages(ranges)
    assert size_of(joined) == len(pages(ranges)) * PAGE
    assert all(one.end < after.start for one, after in pairwise(joined))


@given(RANGES, RANGES)
def test_without_is_the_difference(ranges: list[Range], taken: list[Range]) -> None:
    rest = without(ranges, taken)
    assert pages(rest) == pages(ranges) - pages(taken)
    assert size_of(rest) == len(pages(rest)) * PAGE


@given(RANGES, st.integers(1, 10))
def test_batches_are_all_of_it_in_turns_of_bounded_size(ranges: list[Range], most: int) -> None:
    joined = merged(ranges)
    turns = list(batches(joined, most=most * PAGE))
    assert [page for turn in turns for page in sorted(pages(turn))] == sorted(pages(joined))
    assert all(0 < size_of(turn) <= most * PAGE for turn in turns)


def test_a_thousand_small_ranges_stay_within_what_one_call_takes() -> None:
    scattered = [Range(number * 2 * PAGE, (number * 2 + 1) * PAGE) for number in range(3000)]
    assert [len(turn) for turn in batches(scattered, most=1 << 40)] == [1024, 1024, 952]


def test_only_what_can_be_read_of_a_process_s_map_is_looked_at() -> None:
    maps = """\
00400000-00402000 r-xp 00000000 fe:00 12 /usr/bin/node with a space
7f0000000000-7f0000001000 ---p 00000000 00:00 0
7f0000001000-7f0000003000 rw-p 00000000 00:00 0 [heap]
7fff00000000-7fff00001000 r--p 00000000 00:00 0 [vvar]
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]
"""
    assert mapped(maps) == [Range(0x400000, 0x402000), Range(0x7F0000001000, 0x7F0000003000)]
