"""Decisions about an agent's disk usage."""

import pytest
from ocmt_agent.decisions.disk_limit import DiskLimit, Fullness, Room, Usage, standing

LIMIT = DiskLimit.of_mb(10_240)
GB = 1024**3


@pytest.mark.parametrize(
    ("usage", "short", "fullness"),
    [
        (Usage(0, 0), False, Fullness.FINE),
        (Usage(9 * GB - 4096, 10), False, Fullness.FINE),
        (Usage(9 * GB + 1, 10), False, Fullness.NEARLY),
        (Usage(10 * GB, 10), False, Fullness.NEARLY),
        (Usage(10 * GB + 4096, 10), False, Fullness.OVER),
        (Usage(20 * GB - 1, 10), False, Fullness.OVER),
        (Usage(20 * GB, 10), False, Fullness.STOPPED),
        # Files without content.
        (Usage(1, 600_000), False, Fullness.NEARLY),
        (Usage(1, 700_000), False, Fullness.OVER),
        (Usage(1, 1_400_000), False, Fullness.STOPPED),
        (None, False, Fullness.OVER),  # more than can be counted
        # The host's disk is nearly full: only agents over their limit have to stop.
        (Usage(10 * GB, 10), True, Fullness.NEARLY),
        (Usage(11 * GB, 10), True, Fullness.STOPPED),
        (None, True, Fullness.STOPPED),
    ],
)
def test_an_agent_is_warned_long_before_it_is_stopped(
    usage: Usage | None, short: bool, fullness: Fullness
) -> None:
    found = standing(usage, LIMIT, host_is_short=short)
    assert found.fullness is fullness
    assert (found.warning is None) == (fullness is Fullness.FINE)


def test_a_warning_names_the_limit_that_is_reached_and_the_cure() -> None:
    def warning(usage: Usage | None) -> str:
        return standing(usage, LIMIT, host_is_short=False).warning or ""

    assert "10 GB" in warning(Usage(11 * GB, 10))
    assert "delete" in warning(Usage(11 * GB, 10))
    assert "655,360 files" in warning(Usage(1, 700_000))
    assert "655,360 files" in warning(None)
    assert "AGENT_DISK_MB" in warning(Usage(30 * GB, 10))


def test_an_agent_stopped_on_a_full_disk_is_not_said_to_be_far_over_its_limit() -> None:
    found = standing(Usage(11 * GB, 10), LIMIT, host_is_short=True)
    assert found.fullness is Fullness.STOPPED
    assert "uses more than the 10 GB" in (found.warning or "")


@pytest.mark.parametrize(
    ("total_gb", "free_gb", "total_files", "free_files", "short"),
    [
        (100, 50, 10**6, 10**6, False),
        (100, 4, 10**6, 10**6, True),
        (20, 1.1, 10**6, 10**6, False),
        (20, 0.9, 10**6, 10**6, True),
        (4000, 6, 10**6, 10**6, False),  # 5 GB will do on any disk
        (4000, 4, 10**6, 10**6, True),
        (100, 50, 10**6, 10**4, True),
        (100, 50, 0, 0, False),  # btrfs counts no files
    ],
)
def test_a_host_is_short_before_its_disk_is_full(
    total_gb: float, free_gb: float, total_files: int, free_files: int, short: bool
) -> None:
    room = Room(int(total_gb * 1e9), int(free_gb * 1e9), total_files, free_files)
    assert room.is_short == short
