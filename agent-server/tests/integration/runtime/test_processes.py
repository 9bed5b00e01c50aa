"""Real process families: found, stopped and released as a whole, without touching any other."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ocmt_agent.runtime.processes import (
    ProcessId,
    continue_all,
    family,
    gone,
    identify,
    spawn,
    stop_all,
)

# A leader that spins, its child, and a child that made a session of its own; all ready: a line.
_TREE = """
import os, sys
if os.fork() == 0:
    os.fork() or os.setsid()
os.write(1, b"ready\\n")
while True: pass
"""
_NOBODY = {"OCMT_TEST_FAMILY": "nobody"}


@pytest.fixture
def mark(tmp_path: Path) -> Iterator[dict[str, str]]:
    mark = {"OCMT_TEST_FAMILY": str(tmp_path)}
    yield mark
    for member in family(None, marks=mark):
        member.signal(signal.SIGKILL)


def start_tree(mark: dict[str, str]) -> ProcessId:
    read, write = os.pipe()
    leader = spawn([sys.executable, "-c", _TREE], environment=mark, output=write)
    os.close(write)
    assert leader is not None
    with os.fdopen(read) as ready:
        for _ in range(3):
            assert ready.readline() == "ready\n"
    return leader


def ticks_used(process: ProcessId) -> int:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


async def test_a_whole_family_stops_and_goes_on(mark: dict[str, str]) -> None:
    leader = start_tree(mark)
    members = family(leader, marks=mark)
    assert len(members) == 3

    await stop_all(lambda: family(leader, marks=mark), within_s=60)
    assert {member.state() for member in members} == {"T"}
    used = {member: ticks_used(member) for member in members}
    continue_all(members)
    while any(ticks_used(member) == used[member] for member in members):
        pass  # each of them computes again, or the test times out


async def test_a_family_that_cannot_be_stopped_in_time_is_released(mark: dict[str, str]) -> None:
    leader = start_tree(mark)

    def with_one_that_never_stops() -> set[ProcessId]:
        myself = identify(1)
        assert myself is not None
        return family(leader, marks=mark) | {_Deaf(myself.pid, myself.started_ticks)}

    with pytest.raises(TimeoutError, match="stopped in time"):
        await stop_all(with_one_that_never_stops, within_s=0.1)
    assert "T" not in {member.state() for member in family(leader, marks=mark)}


class _Deaf(ProcessId):
    """A process that no signal ends, such as one that waits for a broken disk."""

    def signal(self, number: signal.Signals) -> bool:
        return True


async def test_what_a_dead_leader_left_behind_is_found_by_its_marks(mark: dict[str, str]) -> None:
    leader = start_tree(mark)
    leader.signal(signal.SIGKILL)
    assert await gone([leader], within_s=60)

    left = family(leader, marks=mark)
    assert len(left) == 2
    for member in left:
        member.signal(signal.SIGKILL)
    assert await gone(left, within_s=60)
    assert await leader.ended() == -signal.SIGKILL


async def test_a_reused_session_number_is_not_ours(mark: dict[str, str]) -> None:
    stranger = start_tree(mark)
    once = ProcessId(stranger.pid, stranger.started_ticks - 1)

    assert family(stranger, marks=_NOBODY) != set()
    assert family(once, marks=_NOBODY) == set()
    assert not once.signal(signal.SIGKILL)
    assert stranger.state() is not None


async def test_the_end_of_a_child_is_reported_with_its_exit_code(tmp_path: Path) -> None:
    go_on = tmp_path / "go_on"
    os.mkfifo(go_on)
    with (tmp_path / "out").open("wb") as out:
        child = spawn(
            ["/bin/sh", "-c", 'cat "$0" -; echo said; exit 78', str(go_on)],
            environment={},
            output=out.fileno(),
        )
    assert child is not None

    assert os.getsid(child.pid) == child.pid
    go_on.write_bytes(b"")
    assert await child.ended() == 78
    assert (tmp_path / "out").read_text() == "said\n"


async def test_the_end_of_another_process_s_child_is_reported_without_a_code(
    mark: dict[str, str],
) -> None:
    leader = start_tree(mark)
    child = next(iter(family(leader, marks=mark) - {leader}))
    child.signal(signal.SIGKILL)

    assert await child.ended() is None


def test_a_program_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        spawn([str(tmp_path / "nothing")], environment={}, output=1)
