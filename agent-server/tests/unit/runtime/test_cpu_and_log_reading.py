"""The kernel's CPU usage by every driver and version, and the end of a log."""

from pathlib import Path

import pytest
from ocmt_agent.runtime.docker_cpu import cpu_file, read_cpu_seconds
from ocmt_agent.runtime.docker_engine import epoch_text
from ocmt_agent.runtime.tail import tail


@pytest.mark.parametrize(
    ("place", "content"),
    [
        ("cpuacct/docker/abc/cpuacct.usage", "2500000000\n"),
        ("cpuacct/system.slice/docker-abc.scope/cpuacct.usage", "2500000000\n"),
        ("docker/abc/cpu.stat", "usage_usec 2500000\nuser_usec 1\nsystem_usec 1\n"),
        ("system.slice/docker-abc.scope/cpu.stat", "usage_usec 2500000\nuser_usec 1\n"),
    ],
)
def test_cpu_seconds_are_read_wherever_the_engine_put_the_group(
    tmp_path: Path, place: str, content: str
) -> None:
    file = tmp_path / place
    file.parent.mkdir(parents=True)
    assert cpu_file("abc", root=tmp_path) is None
    file.write_text(content)

    found = cpu_file("abc", root=tmp_path)
    assert found == file
    assert read_cpu_seconds(found) == 2.5


def test_the_tail_of_a_log_is_its_last_lines_whatever_its_length_and_bytes(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert tail(log, 3) == ""
    log.write_bytes(b"".join(b"line %d \xff\n" % n for n in range(100_000)))

    assert tail(log, 2) == "line 99998 \ufffd\nline 99999 \ufffd"


def test_the_tail_of_one_start_holds_nothing_of_those_before(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("earlier\n")
    start = log.stat().st_size
    assert tail(log, 5, start) == ""
    log.write_text("earlier\nthis one\n")
    assert tail(log, 5, start) == "this one"
    log.write_text("cut\n")  # emptied since, when it grew too long
    assert tail(log, 5, start) == "cut"


@pytest.mark.parametrize(
    ("moment", "taken"),
    [
        ("2026-11-29T12:00:00.123456789Z", "1795953600.123456789"),
        ("2026-11-29T12:00:00Z", "1795953600.0"),
        ("1970-01-01T00:00:01.5Z", "1.5"),
    ],
)
def test_the_start_of_a_container_is_told_to_the_log_to_the_nanosecond(
    moment: str, taken: str
) -> None:
    assert epoch_text(moment) == taken
