"""A sleeping agent's working set is written, and read again only while it is valid."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ocmt_agent.memory import working_set_store
from ocmt_agent.memory.page_sets import Pages
from ocmt_agent.memory.prefetch import Prefetcher
from ocmt_agent.memory.ranges import PAGE, PackedRanges, Range
from ocmt_agent.memory.working_set import WorkingSet
from ocmt_agent.memory.working_set_store import Learned, WorkingSetStore
from ocmt_agent.runtime.processes import ProcessId

LEADER = ProcessId(41, 1000)
PROCESSES = st.builds(ProcessId, st.integers(1, 1 << 22), st.integers(0, 1 << 62))
RANGES = st.lists(
    st.builds(
        lambda start, pages: Range(start * PAGE, (start + pages) * PAGE),
        st.integers(0, 1 << 35),
        st.integers(1, 64),
    ),
    max_size=20,
)
PAGES = st.dictionaries(PROCESSES, RANGES, max_size=3)
SETS = st.builds(WorkingSet, PAGES, PAGES)
LEARNED = Learned(
    LEADER,
    WorkingSet({LEADER: [Range(0, PAGE)]}, {}),
    None,
    {LEADER: [Range(0, 2 * PAGE)]},
    wakes=3,
)


def always() -> bool:
    return True


def as_lists(learned: Learned) -> list[object]:
    def listed(pages: Pages) -> dict[ProcessId, list[Range]]:
        return {process: list(ranges) for process, ranges in pages.items()}

    sets = [learned.working_set, *([learned.laid_out] if learned.laid_out else [])]
    return [
        learned.leader,
        *([listed(one.first), listed(one.then)] for one in sets),
        listed(learned.held),
        learned.wakes,
    ]


@given(known=SETS, laid_out=st.none() | SETS, held=PAGES, wakes=st.integers(0, 1000))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_it_comes_back_as_it_was(
    tmp_path: Path, known: WorkingSet, laid_out: WorkingSet | None, held: Pages, wakes: int
) -> None:
    store = WorkingSetStore(tmp_path / "sets")
    learned = Learned(LEADER, known, laid_out, held, wakes)
    store.save("ada", learned, wanted=always)
    found = store.load("ada", LEADER)
    assert found is not None
    assert as_lists(found) == as_lists(learned)


def test_a_working_set_is_valid_for_one_agent_and_one_boot_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = WorkingSetStore(tmp_path)
    store.save("ada", LEARNED, wanted=always)
    assert store.load("ada", LEADER) is not None
    assert store.load("ben", LEADER) is None
    assert store.load("ada", replace(LEADER, started_ticks=1001)) is None
    other = tmp_path / "boot_id"
    other.write_text("another boot\n")
    monkeypatch.setattr(working_set_store, "_BOOT_ID", other)
    assert store.load("ada", LEADER) is None


@pytest.mark.parametrize(
    "broken",
    [
        lambda whole: b"",
        lambda whole: whole[: len(whole) // 2],
        lambda whole: whole[:-1] + bytes([whole[-1] ^ 1]),
        lambda whole: b"no such thing",
    ],
)
def test_a_broken_file_is_as_none(tmp_path: Path, broken: Callable[[bytes], bytes]) -> None:
    store = WorkingSetStore(tmp_path)
    store.save("ada", LEARNED, wanted=always)
    file = tmp_path / "ada"
    file.write_bytes(broken(file.read_bytes()))
    assert store.load("ada", LEADER) is None
    store.save("ada", LEARNED, wanted=always)
    assert store.load("ada", LEADER) is not None


def test_a_read_only_folder_stops_no_agent(tmp_path: Path) -> None:
    (tmp_path / "sets").write_text("a file is in the way")
    store = WorkingSetStore(tmp_path / "sets")
    store.save("ada", LEARNED, wanted=always)
    assert store.load("ada", LEADER) is None


def test_it_is_readable_by_us_alone_leaves_no_drafts_and_can_be_forgotten(tmp_path: Path) -> None:
    store = WorkingSetStore(tmp_path / "sets")
    store.forget("ada")
    store.save("ada", LEARNED, wanted=always)
    store.save("ada", LEARNED, wanted=always)
    assert [file.name for file in (tmp_path / "sets").iterdir()] == ["ada"]
    assert (tmp_path / "sets").stat().st_mode & 0o777 == 0o700
    store.forget("ada")
    assert store.load("ada", LEADER) is None


def test_only_the_same_gateway_is_recognised_and_recent_use_counts_more() -> None:
    prefetcher = Prefetcher()
    prefetcher.belongs_to(replace(LEADER, pid=42))
    prefetcher.restore(LEARNED)
    assert prefetcher.working_set is None
    prefetcher.belongs_to(LEADER)
    assert prefetcher.learned() is None
    prefetcher.restore(LEARNED)
    assert prefetcher.learned() == LEARNED
    prefetcher.restore(replace(LEARNED, wakes=9))
    assert prefetcher.learned() == LEARNED


def test_ranges_are_bytes_of_whole_ranges() -> None:
    ranges = [Range(0, PAGE), Range(2 * PAGE, 5 * PAGE)]
    assert list(PackedRanges.of(bytes(PackedRanges(ranges)))) == ranges
    with pytest.raises(ValueError, match="whole number"):
        PackedRanges.of(b"12345678")


def test_a_working_set_forgotten_while_it_is_written_is_not_kept(tmp_path: Path) -> None:
    store = WorkingSetStore(tmp_path)
    store.save("ada", LEARNED, wanted=lambda: False)
    assert list(tmp_path.iterdir()) == []
