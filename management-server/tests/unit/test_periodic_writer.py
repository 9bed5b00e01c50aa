"""What is recorded is written some time later, whatever went wrong before."""

import asyncio

import pytest
from ocmt_common.problems import Problem
from ocmt_management import periodic_writer
from ocmt_management.periodic_writer import PeriodicWriter


@pytest.mark.parametrize("error", [Problem(503, "database-away", "It is away."), TypeError("bug")])
async def test_writing_goes_on_after_an_error(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(periodic_writer, "_RETRY_S", 0)
    attempts, wrote = 0, asyncio.Event()

    async def write() -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            writer.due()
            raise error
        wrote.set()

    writer = PeriodicWriter(write, every_s=0, what="records")
    async with writer.running():
        writer.due()
        async with asyncio.timeout(20):
            await wrote.wait()
    assert attempts == 3  # the last one at shutdown


async def test_nothing_due_is_written_at_shutdown_only() -> None:
    writes = 0

    async def write() -> None:
        nonlocal writes
        writes += 1

    async with PeriodicWriter(write, every_s=0, what="records").running():
        for _ in range(5):
            await asyncio.sleep(0)
        assert writes == 0
    assert writes == 1
