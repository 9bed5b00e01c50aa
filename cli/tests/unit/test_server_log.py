import asyncio
import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from ocmt_cli.up.server_log import ServerLog


class Told:
    def __init__(self, folder: Path) -> None:
        self.lines: list[str] = []
        self.log = ServerLog("agent", folder, self.lines.append)

    def file(self) -> list[str]:
        return self.log.path.read_text().splitlines()


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    told = Told(tmp_path)
    yield told
    told.log.close()


def record(level: str, event: str) -> str:
    return json.dumps({"level": level, "event": event})


def test_everything_is_logged_and_only_the_important_is_printed(told: Told) -> None:
    told.log.line(record("info", "request"))
    told.log.line(record("error", "the engine is gone"))
    assert len(told.file()) == 2
    assert told.lines == ["agent: the engine is gone"]


def test_a_server_s_plain_output_is_kept_as_its_last_words(told: Told) -> None:
    told.log.line(record("info", "starting"))
    told.log.line("PORT is wrong")
    assert told.log.last_words == "PORT is wrong"


def test_only_the_last_plain_lines_are_remembered(told: Told) -> None:
    for number in range(100):
        told.log.line(str(number))
    assert told.log.last_words.splitlines()[-1] == "99"
    assert len(told.log.last_words.splitlines()) == 20


def test_the_log_is_bounded(told: Told, tmp_path: Path) -> None:
    for _ in range(420):
        told.log.line("x" * 60_000)
    sizes = [file.stat().st_size for file in tmp_path.iterdir()]
    assert len(sizes) == 4
    assert sum(sizes) <= 4 * 5_000_000


async def test_a_line_without_an_end_is_not_lost_and_does_not_grow_for_ever(told: Told) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"first\nsecond \xff half")
    os.close(writing)
    await told.log.drain(reading)
    assert told.file() == ["first", "second � half"]


async def test_text_that_looks_like_json_but_is_not_an_object_is_plain(told: Told) -> None:
    told.log.line("{not json")
    told.log.line("[1]")
    assert told.log.last_words == "{not json\n[1]"


async def test_a_full_disk_does_not_stop_the_reading(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "agent.log").symlink_to("/dev/full")

    def fail(_: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    log = ServerLog("agent", tmp_path, fail)
    reading, writing = os.pipe()
    written = asyncio.create_task(
        asyncio.to_thread(os.write, writing, (record("error", "no room") + "\n").encode() * 2000)
    )
    written.add_done_callback(lambda _: os.close(writing))
    async with asyncio.timeout(20):
        await log.drain(reading)
    log.close()
    assert capfd.readouterr().err == ""
