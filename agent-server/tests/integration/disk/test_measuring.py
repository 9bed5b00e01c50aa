"""An agent's disk usage is measured right, whatever it does with its files."""

import asyncio
import os
import sys
from pathlib import Path

from ocmt_agent.decisions.disk_limit import Usage
from ocmt_agent.disk.usage import measure
from ocmt_agent.runtime.removal import remove_folder

MB = 1 << 20


async def used(folder: Path, *pids: int) -> Usage:
    usage = await measure(folder, pids)
    assert usage is not None
    return usage


async def test_links_gaps_and_second_names_count_as_what_they_take(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "large").write_bytes(b"x" * 8 * MB)
    state = tmp_path / "ada"
    state.mkdir()
    empty = await used(state)
    (state / "link").symlink_to(outside)
    (state / "file").symlink_to(outside / "large")
    with (state / "sparse").open("wb") as sparse:
        sparse.truncate(1 << 40)
    (state / "one").write_bytes(b"x" * 4 * MB)
    (state / "two").hardlink_to(state / "one")
    os.mkfifo(state / "pipe")

    seen = await used(state)
    assert 4 * MB <= seen.bytes - empty.bytes < 5 * MB
    assert seen.files - empty.files == 5  # the second name is the same file
    assert await used(tmp_path / "nobody") == Usage(0, 0)


async def test_folders_as_deep_as_an_agent_can_make_them_are_counted(tmp_path: Path) -> None:
    state = tmp_path / "ada"
    state.mkdir()
    here = os.open(state, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(2500):
        os.mkdir("deeper", dir_fd=here)
        below = os.open("deeper", os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = below
    file = os.open("hidden", os.O_CREAT | os.O_WRONLY, dir_fd=here)
    os.write(file, b"x" * 4 * MB)
    os.close(file)
    os.close(here)
    try:
        seen = await used(state)
        assert seen.bytes >= 4 * MB
        assert seen.files == 2502
    finally:
        remove_folder(state)  # pytest's own removal goes no deeper than Python


async def test_files_that_were_deleted_while_they_are_open_count(tmp_path: Path) -> None:
    state = tmp_path / "ada"
    state.mkdir()
    program = (
        "import os, sys; file = open(sys.argv[1], 'wb'); file.write(b'x' * (4 << 20)); "
        "file.flush(); again = os.dup(file.fileno()); os.unlink(sys.argv[1]); "
        "print('hidden', flush=True); sys.stdin.read()"
    )
    hiding = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program, str(state / "file")),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert hiding.stdout is not None
        assert await hiding.stdout.readline() == b"hidden\n"
        assert (await used(state)).bytes < MB
        assert 4 * MB <= (await used(state, hiding.pid)).bytes < 5 * MB
    finally:
        await hiding.communicate(b"")


async def test_what_cannot_be_counted_in_time_is_left_at_that(tmp_path: Path) -> None:
    assert await measure(tmp_path, (), within_s=0) is None
