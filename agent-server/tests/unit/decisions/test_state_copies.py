"""When state is copied, when a start is refused, and which copies are kept."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from ocmt_agent.decisions.disk_limit import DiskLimit, Room, Usage
from ocmt_agent.decisions.state_copies import (
    KEPT_FOR,
    StateCopy,
    Step,
    before_start,
    no_longer_needed,
    to_go_back_to,
    why_no_copy,
)
from ocmt_agent.runtime.base import RuntimeFailed
from ocmt_agent.runtime.docker_engine import version_of

NOW = datetime(2026, 11, 30, tzinfo=UTC)
GB = 1000**3
LIMIT = DiskLimit.of_mb(1000)
PLENTY = Room(10**12, 10**12, 10**7, 10**7)


def copy(version: str, *, days_ago: float = 0) -> StateCopy:
    return StateCopy(version, NOW - timedelta(days=days_ago), Path(version))


@pytest.mark.parametrize(
    ("last", "now", "step"),
    [
        ("2026.9.6", "2026.9.6", Step.START),
        ("2026.9.6", "2026.10.1", Step.COPY),
        ("2026.9.6", "2026.9.6-1", Step.COPY),
        ("2026.10.1-beta.2", "2026.10.1", Step.COPY),
        ("2026.10.1", "2026.9.6", Step.REFUSE),
        ("2026.10.1", "2026.9.30", Step.REFUSE),
        ("2026.9.6-1", "2026.9.6", Step.REFUSE),
        ("2026.10.1", "2026.10.1-beta.2", Step.REFUSE),
        # Of a release that recorded nothing, each of which had 2026.9.6.
        (None, "2026.9.6", Step.RECORD),
        (None, "2026.10.1", Step.COPY),
        (None, "2026.8.1", Step.RECORD),
    ],
)
def test_state_is_copied_for_a_newer_openclaw_and_kept_from_an_older(
    last: str | None, now: str, step: Step
) -> None:
    assert before_start(last, now, has_state=True) is step


@pytest.mark.parametrize("last", [None, "2026.8.1", "2026.9.6", "2026.10.1"])
def test_an_agent_without_state_starts_on_any_openclaw(last: str | None) -> None:
    assert before_start(last, "2026.9.6", has_state=False) in (Step.START, Step.RECORD)


@pytest.mark.parametrize(
    ("last", "now", "copies", "found"),
    [
        ("2026.10.1", "2026.9.6", ["2026.9.6"], "2026.9.6"),  # after a rollback
        ("2026.10.1", "2026.9.7", ["2026.9.6"], "2026.9.6"),
        ("2026.9.6", "2026.10.1", ["2026.10.1"], "2026.10.1"),  # forward again
        ("2026.10.1", "2026.9.6", ["2026.9.8"], None),  # too new itself
        ("2026.10.1", "2026.10.1", ["2026.9.6"], None),  # the state will do
        ("2026.9.6", "2026.10.1", ["2026.8.1"], None),
        ("2026.10.1", "2026.9.6", [], None),
    ],
)
def test_the_way_back_is_the_copy_that_the_host_can_read(
    last: str, now: str, copies: list[str], found: str | None
) -> None:
    chosen = to_go_back_to([copy(one) for one in copies], last=last, now=now)
    assert (chosen and chosen.version) == found


def test_the_newest_copy_is_kept_for_two_weeks_and_no_other() -> None:
    old, new = copy("2026.9.6", days_ago=9), copy("2026.10.1", days_ago=2)
    assert no_longer_needed([old, new], NOW) == [old]
    assert no_longer_needed([new], NOW) == []
    assert no_longer_needed([new], new.taken_at + KEPT_FOR + timedelta(seconds=1)) == [new]
    assert no_longer_needed([], NOW) == []


@pytest.mark.parametrize(
    ("usage", "room", "word"),
    [
        (Usage(GB, 100), PLENTY, None),
        (Usage(int(1.9 * LIMIT.bytes), 100), PLENTY, None),
        (Usage(2 * LIMIT.bytes, 100), PLENTY, "AGENT_DISK_MB"),
        (Usage(GB, 2 * LIMIT.files), PLENTY, "AGENT_DISK_MB"),
        (None, PLENTY, "more files than can be counted"),
        (Usage(GB, 100), Room(10**12, 5 * GB, 10**7, 10**7), "free space"),
        (Usage(GB, 10_000), Room(10**12, 10**12, 10**5, 10_000), "free space"),
        (Usage(GB, 10_000), Room(10**12, 10**12, 0, 0), None),  # where files are not counted
    ],
)
def test_a_copy_is_bounded_like_the_agent_and_leaves_the_host_its_reserve(
    usage: Usage | None, room: Room, word: str | None
) -> None:
    why = why_no_copy(usage, LIMIT, room)
    assert (why is None) if word is None else (why is not None and word in why)


@pytest.mark.parametrize(
    ("image", "labels", "version"),
    [
        ("ocmt/openclaw:2026.9.6", {"org.opencontainers.image.version": "2026.9.7"}, "2026.9.7"),
        ("ocmt/openclaw:2026.9.6", None, "2026.9.6"),
        ("host:5000/own:2026.10.1-beta.1", {}, "2026.10.1-beta.1"),
        ("own:2026.9.6", {"org.opencontainers.image.version": "24.04"}, "2026.9.6"),
    ],
)
def test_an_image_says_which_openclaw_it_holds(
    image: str, labels: dict[str, str] | None, version: str
) -> None:
    assert version_of(image, {"Config": {"Labels": labels}}) == version


@pytest.mark.parametrize("image", ["own:latest", "own", "host:5000/own", "own:2026.9.6/../x"])
def test_an_image_that_does_not_is_refused_with_what_to_do(image: str) -> None:
    with pytest.raises(RuntimeFailed, match=r"label org\.opencontainers\.image\.version"):
        version_of(image, {"Config": {"Labels": {"org.opencontainers.image.version": "main"}}})
