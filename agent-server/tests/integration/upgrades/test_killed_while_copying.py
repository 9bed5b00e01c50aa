"""The agent server is killed at each line of copying a state and of reverting to a copy.

A folder with a copy's name is always a whole copy, no state is lost, and the next server continues.
`MigratingRuntime` stands for OpenClaw and refuses states that are too new for it.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from ocmt_agent.decisions.activity import ActivityKind
from ocmt_agent.records import registry, store
from ocmt_agent.upgrades import copies, manager
from ocmt_agent.upgrades.copies import StateCopies
from ocmt_common.problems import Problem
from ocmt_testing.agent_server.fake_clock import FakeClock
from ocmt_testing.agent_server.host import Host, open_host
from ocmt_testing.agent_server.migrating_runtime import MigratingRuntime, read_state, write_state

OLDEST, OLD, NEW = "2026.8.1", "2026.9.6", "2026.10.1"
_FILES = {module.__file__ for module in (copies, manager)}
_STORING = {
    (module.__file__, name)
    for module, name in ((registry, "set_openclaw"), (store, "keep_openclaw"))
}
_MOST_LINES = 400
lines = pytest.mark.parametrize(
    "lines",
    [range(1, _MOST_LINES, 5), pytest.param(range(1, _MOST_LINES), marks=pytest.mark.nightly)],
    ids=["some lines", "every line"],
)


async def wake(host: Host) -> None:
    await host.parts.hibernation.wakes.awake("ada", kind=ActivityKind.WAKE)


async def revert(host: Host) -> None:
    await host.parts.provisioning.revert("ada")


async def serve(folder: Path, openclaw: str, work: Callable[[Host], Awaitable[object]]) -> None:
    runtime = MigratingRuntime(folder / "agents", openclaw)
    clock = FakeClock()
    clock.advance(minutes=int(openclaw.split(".")[1]))  # a later release, a later day
    async with open_host(folder, runtime=runtime, clock=clock) as host:
        await work(host)


def kill_at_line(number: int) -> None:
    """End this process at the nth line that it reaches for the first time."""
    seen: set[tuple[str, int]] = set()

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        code = frame.f_code
        if code.co_filename not in _FILES and (code.co_filename, code.co_name) not in _STORING:
            return None
        if event == "line":
            seen.add((code.co_filename, frame.f_lineno))
            if len(seen) >= number:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    threading.settrace(trace)
    sys.settrace(trace)


def killed_at(
    number: int, folder: Path, openclaw: str, work: Callable[[Host], Awaitable[object]]
) -> bool:
    """Run it in a process killed at its nth line; `False` if it had fewer."""
    child = os.fork()
    if child == 0:
        try:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            kill_at_line(number)
            asyncio.run(serve(folder, openclaw, work))
            os._exit(0)
        except BaseException:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return True
    assert os.waitstatus_to_exitcode(status) == 0, "it failed instead of being killed"
    return False


def everything(folder: Path) -> set[tuple[str, str]]:
    """The content of the copies, after checking that each is whole and matches its name."""
    found = set()
    for copy in StateCopies(folder / "agents").of("ada"):
        version, said = read_state(copy.folder)
        assert version == copy.version
        found.add((version, said))
    return found


def prepared(folder: Path) -> Path:
    """An agent last used by OLD, with a copy from an earlier change; returns its state's folder."""
    (folder / "agents").mkdir(parents=True)

    async def old(host: Host) -> None:
        await host.provision()

    asyncio.run(serve(folder, OLDEST, old))
    state = folder / "agents" / "ada" / "state"
    write_state(state, version=OLDEST, said="first")
    asyncio.run(serve(folder, OLD, wake))
    write_state(state, version=OLD, said="before")
    assert everything(folder) == {(OLDEST, "first")}
    return state


@lines
def test_killed_anywhere_while_its_state_is_copied_an_agent_has_the_old_copy_or_the_new(
    tmp_path: Path, lines: range
) -> None:
    original = tmp_path / "original"
    prepared(original)
    for number in lines:
        folder = tmp_path / str(number)
        shutil.copytree(original, folder, symlinks=True)
        state = folder / "agents" / "ada" / "state"
        killed = killed_at(number, folder, NEW, wake)
        there = everything(folder)
        assert there & {(OLDEST, "first"), (OLD, "before")}, f"no copy, killed at line {number}"
        assert read_state(state)[1] == "before"
        asyncio.run(serve(folder, NEW, wake))
        assert read_state(state) == (NEW, "before")
        assert (OLD, "before") in everything(folder)
        if not killed:
            assert number > 40, "next to nothing of it was seen"
            return
        shutil.rmtree(folder)
    pytest.fail("it never came to its end")


@lines
def test_killed_anywhere_while_going_back_an_agent_has_its_state_and_its_copy(
    tmp_path: Path, lines: range
) -> None:
    original = tmp_path / "original"
    state = prepared(original)
    asyncio.run(serve(original, NEW, wake))
    write_state(state, version=NEW, said="after")
    both = {(OLD, "before"), (NEW, "after")}
    for number in lines:
        folder = tmp_path / str(number)
        shutil.copytree(original, folder, symlinks=True)
        state = folder / "agents" / "ada" / "state"
        killed = killed_at(number, folder, OLD, revert)
        there = everything(folder)
        if state.exists():
            there.add(read_state(state))
        assert there == both, f"killed at line {number}"

        async def go_on(host: Host) -> None:
            with contextlib.suppress(Problem):  # it had not come to the exchange
                await wake(host)
                return
            await revert(host)
            await wake(host)

        asyncio.run(serve(folder, OLD, go_on))
        assert read_state(state) == (OLD, "before")
        assert everything(folder) == {(NEW, "after")}
        if not killed:
            assert number > 30, "next to nothing of it was seen"
            return
        shutil.rmtree(folder)
    pytest.fail("it never came to its end")
