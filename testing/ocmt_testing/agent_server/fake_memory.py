"""An agent's memory in a fake control group, and a driver that reclaims it."""

import asyncio
import os
from concurrent.futures import Executor
from pathlib import Path

from ocmt_agent.memory.host import HostMemory, Pressure, SwapArea, SwapKind, Zram, Zswap
from ocmt_agent.runtime.base import Whereabouts
from ocmt_agent.runtime.processes import identify

MB = 1 << 20


class FakeMemory:
    """The control group of an agent whose first process is the test's own."""

    name = "fake"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.begun = asyncio.Event()
        self.held: asyncio.Event | None = None
        self.cancelled = 0
        self.reclaims = 0
        self.pressure = 0.0
        self.has_swap = True
        self.left: list[int] = []
        """MB that the next reclaims leave; 2 when empty."""
        folder.mkdir()
        self.set(anon=900, swap=0)

    def set(self, *, anon: int, swap: int) -> None:
        """Set the group's figures, in MB."""
        stat = f"rss {anon * MB}\ncache 0\nswap {swap * MB}\n"
        (self.folder / "memory.stat").write_text(stat)
        (self.folder / "memory.usage_in_bytes").write_text(str(anon * MB))

    def where(self) -> Whereabouts:
        leader = identify(os.getpid())
        assert leader is not None
        # Empty, so that the test's own pages are left alone.
        return Whereabouts(leader, self.folder, lambda: [])

    def host(self) -> HostMemory:
        swap = (SwapArea("/swap", SwapKind.DISK, 8 << 30, 0),) if self.has_swap else ()
        return HostMemory(
            total=8 << 30,
            available=4 << 30,
            swaps=swap,
            zram=Zram(0, 0),
            zswap=Zswap(enabled=False, stored=0, ram=0),
            pressure=Pressure(self.pressure, 0.0, 0.0, 0.0),
        )

    # As a driver

    def fits(self, where: Whereabouts) -> bool:
        return where.memory == self.folder

    async def reclaim(self, where: Whereabouts, executor: Executor) -> None:
        self.reclaims += 1
        self.begun.set()
        try:
            if self.held is not None:
                await self.held.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        anon = self.left.pop(0) if self.left else 2
        self.set(anon=anon, swap=900 - anon)
